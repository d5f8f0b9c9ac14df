// Package ticket seals one-time tickets: credentials for one request of a client that can send no header field, such as
// an EventSource, a WebSocket or a download link.
//
// A ticket is base64url without padding (RFC 4648 §5) of a version byte, a random nonce of 24 bytes, and a content that
// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) seals. The key comes from a secret by HKDF-SHA256 (RFC 5869). The
// epoch of the replay guard is part of the associated data, so that no ticket opens after a restart has forgotten
// which ones were used. The content is the request that the ticket is for, as a digest, and what the token says:
// nothing is stored when a ticket is drawn.
//
// Opening a ticket says what it means. Whether it may be used now is for the gate and the replay guard to decide.
package ticket

import (
	"bytes"
	"compress/flate"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	version = 1
	keyInfo = "jotgate one-time ticket, version 1: key"
	domain  = "jotgate one-time ticket, version 1: request"

	nonceSize = chacha20poly1305.NonceSizeX
	headSize  = 1 + nonceSize

	// MaxLength is the longest ticket, in characters.
	MaxLength = 1536
	// mostContent bounds what a ticket unpacks to.
	mostContent = 64 << 10
	minSecret   = 32
)

// Errors of Seal and Open.
var (
	ErrTooLong   = errors.New("what the token says does not fit into a ticket")
	ErrMalformed = errors.New("not the shape of a ticket")
	ErrUnknown   = errors.New("not sealed by this gate, or sealed before it restarted")
)

// A Request is what a ticket is bound to.
type Request struct {
	Method string
	Host   string // canonical
	Path   string // raw
	Query  string // raw, without the ticket
}

// Digest stands for the request. Every field has its length, so that no two requests share it.
func (q *Request) Digest() (sum [sha256.Size]byte) {
	var b []byte
	for _, s := range [...]string{domain, q.Method, q.Host, q.Path, q.Query} {
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(s))), s...)
	}
	return sha256.Sum256(b)
}

// A Content is what a ticket says.
type Content struct {
	Request [sha256.Size]byte `json:"-"`
	Made    int64             `json:"m"` // ms since 1970
	Expiry  int64             `json:"e"` // ms since 1970
	Tenant  string            `json:"t,omitempty"`
	Type    string            `json:"y,omitempty"` // typ of the token
	KeyID   string            `json:"k,omitempty"` // of the key that signed the token
	Named   bool              `json:"n,omitempty"` // the issuer's key set had a key of this id
	Claims  string            `json:"c"`           // the token's payload, as far as the request needs it

	// Nonce is the ticket's identity, for the replay guard; Seal ignores it.
	Nonce [nonceSize]byte `json:"-"`
}

// A Sealer seals and opens tickets. It is safe for concurrent use.
type Sealer struct {
	aeads []cipher.AEAD
	epoch []byte
}

// New makes a Sealer. The first secret seals, all open. The epoch is that of the replay guard; nil for a guard that
// outlives the process.
func New(secrets [][]byte, epoch []byte) (*Sealer, error) {
	if len(secrets) == 0 {
		return nil, errors.New("tickets: no secret")
	}
	s := &Sealer{epoch: epoch}
	for i, secret := range secrets {
		if len(secret) < minSecret {
			return nil, fmt.Errorf("tickets: secret %d has %d bytes: it needs at least %d", i, len(secret), minSecret)
		}
		key, err := hkdf.Key(sha256.New, secret, nil, keyInfo, chacha20poly1305.KeySize)
		if err != nil {
			return nil, fmt.Errorf("tickets: secret %d: %w", i, err)
		}
		aead, err := chacha20poly1305.NewX(key)
		if err != nil {
			return nil, fmt.Errorf("tickets: secret %d: %w", i, err)
		}
		s.aeads = append(s.aeads, aead)
	}
	return s, nil
}

var encoding = base64.RawURLEncoding.Strict()

// Seal makes a ticket, or returns ErrTooLong.
func (s *Sealer) Seal(c *Content) (string, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	var packed bytes.Buffer
	packed.Write(c.Request[:])
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(text); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	raw := make([]byte, headSize, headSize+packed.Len()+s.aeads[0].Overhead())
	raw[0] = version
	rand.Read(raw[1:headSize]) // never fails (crypto/rand)
	raw = s.aeads[0].Seal(raw, raw[1:headSize], packed.Bytes(), s.associated())
	if encoding.EncodedLen(len(raw)) > MaxLength || len(text) > mostContent {
		return "", ErrTooLong
	}
	return encoding.EncodeToString(raw), nil
}

func (s *Sealer) associated() []byte { return append([]byte{version}, s.epoch...) }

// Open reads a ticket that this Sealer, or one like it, sealed. The error is ErrMalformed or ErrUnknown.
func (s *Sealer) Open(ticket string) (*Content, error) {
	if len(ticket) > MaxLength {
		return nil, ErrMalformed
	}
	for i := range len(ticket) { // the decoder skips line breaks
		if ticket[i] == '\n' || ticket[i] == '\r' {
			return nil, ErrMalformed
		}
	}
	raw, err := encoding.DecodeString(ticket)
	if err != nil || len(raw) < headSize+s.aeads[0].Overhead()+sha256.Size || raw[0] != version {
		return nil, ErrMalformed
	}
	for _, aead := range s.aeads {
		plain, err := aead.Open(nil, raw[1:headSize], raw[headSize:], s.associated())
		if err != nil {
			continue
		}
		c := &Content{Nonce: [nonceSize]byte(raw[1:headSize]), Request: [sha256.Size]byte(plain)}
		text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(plain[sha256.Size:])), mostContent+1))
		if err != nil || len(text) > mostContent || json.Unmarshal(text, c) != nil {
			return nil, ErrUnknown
		}
		return c, nil
	}
	return nil, ErrUnknown
}
