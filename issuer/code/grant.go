package code

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jotgate/jotgate/internal/refusal"
)

const (
	maxLifetime = 600 * time.Second // RFC 6749 §4.1.2

	// roomForStrings is what is left for the packed tenant and subject together, without the byte before each, and for
	// custom claims with the byte before them.
	roomForStrings = plainSize - 17 - 2
)

// putGrant writes g into plain, which is zero.
func (p packer) putGrant(plain []byte, g Grant) error {
	if err := g.check(); err != nil {
		return err
	}
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], uint64(g.IssuedAt))
	copy(plain[0:6], at[2:])
	actual, nominal := uint32(g.Lifetime/time.Second), uint32(g.Nominal/time.Second)
	both := actual<<12 | nominal
	plain[6], plain[7], plain[8] = byte(both>>16), byte(both>>8), byte(both)
	copy(plain[9:13], g.Client[:])
	copy(plain[13:17], g.Role[:])
	return p.putStrings(plain[17:17], &g)
}

func (p packer) putStrings(dst []byte, g *Grant) error {
	t, s := p.pack(g.Tenant), p.pack(g.Subject)
	need, what := t.size()+s.size(), "tenant and subject"
	if g.Claims != "" {
		need, what = need+1+len(g.Claims), "tenant, subject and claims"
	}
	if need > roomForStrings {
		return refusal.Because(refusal.CodeTooLong, "%s need %d bytes, a code has %d", what, need, roomForStrings)
	}
	dst = s.appendTo(t.appendTo(dst))
	if g.Claims != "" {
		_ = append(append(dst, byte(len(g.Claims))), g.Claims...)
	}
	return nil
}

// grant reads what putGrant wrote, and nothing else: it accepts no bytes that putGrant would have written otherwise.
func (p packer) grant(plain []byte) (Grant, error) {
	var at [8]byte
	copy(at[2:], plain[0:6])
	both := uint32(plain[6])<<16 | uint32(plain[7])<<8 | uint32(plain[8])
	g := Grant{
		IssuedAt: int64(binary.BigEndian.Uint64(at[:])),
		Lifetime: time.Duration(both>>12) * time.Second,
		Nominal:  time.Duration(both&0xfff) * time.Second,
		Client:   Digest(plain[9:13]),
		Role:     Digest(plain[13:17]),
	}
	var err error
	rest := plain[17:]
	if g.Tenant, rest, err = p.unpack(rest); err != nil {
		return Grant{}, fmt.Errorf("tenant: %w", err)
	}
	if g.Subject, rest, err = p.unpack(rest); err != nil {
		return Grant{}, fmt.Errorf("subject: %w", err)
	}
	if len(rest) > 0 && int(rest[0]) < len(rest) {
		g.Claims = string(rest[1 : 1+rest[0]])
	}
	var again [plainSize]byte
	if err := p.putGrant(again[:], g); err != nil {
		return Grant{}, err
	}
	if !bytes.Equal(again[:], plain) {
		return Grant{}, errors.New("not written the one way")
	}
	return g, nil
}

func (g Grant) check() error {
	if g.IssuedAt < 0 || g.IssuedAt >= 1<<48 {
		return fmt.Errorf("code: issued at %d ms, which does not fit into 48 bits", g.IssuedAt)
	}
	if g.Lifetime < time.Second || g.Lifetime%time.Second != 0 || g.Lifetime > g.Nominal ||
		g.Nominal%time.Second != 0 || g.Nominal > maxLifetime {
		return fmt.Errorf("code: lifetime %v of %v: whole seconds are needed, at least 1, at most the nominal, "+
			"itself at most %v", g.Lifetime, g.Nominal, maxLifetime)
	}
	if g.Subject == "" {
		return refusal.Because(refusal.BodyInvalid, "the subject is empty")
	}
	if !isText(g.Tenant) {
		return refusal.Because(refusal.BodyInvalid, "the tenant is not UTF-8 without control characters")
	}
	if !isText(g.Subject) {
		return refusal.Because(refusal.BodyInvalid, "the subject is not UTF-8 without control characters")
	}
	return nil
}

// isText reports whether s can stand in a JSON string, a log line and, percent-encoded, a header.
func isText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}
