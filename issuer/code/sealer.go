package code

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/jotgate/jotgate/internal/refusal"
)

// The strings that tell our uses of one hash function apart. A change of the layout takes new ones.
const (
	keyInfo       = "jotgate authorization code, version 1: key"
	keyIDDomain   = "jotgate authorization code, version 1: key id"
	contextDomain = "jotgate authorization code, version 1: context"
	markDomain    = "jotgate authorization code, version 1: mark"
)

const (
	minSecret = 32 // bytes: as strong as the key that is made of it
	minEpoch  = 16 // bytes: no two processes share one
)

// Options are what a Sealer is made of. Two Sealers open each other's codes if and only if issuer, epoch and the set of
// prefixes are the same and they have the secret in common.
type Options struct {
	// Issuer is the URL that our tokens have as iss.
	Issuer string
	// Secrets serve nothing else and have at least 32 bytes each. The first seals, all open.
	Secrets [][]byte
	// Epoch is the replay guard's: codes of another guard do not open.
	Epoch []byte
	// Prefixes are beginnings of tenants and subjects that cost one byte in a code; at most 256. Their order means
	// nothing.
	Prefixes []string
}

// A Sealer seals and opens codes. It does not change and is safe for concurrent use.
type Sealer struct {
	keys    []key
	context [sha256.Size]byte // issuer, epoch and prefixes, digested
	issuer  [sha256.Size]byte // the issuer alone, and …
	epoch   [sha256.Size]byte // … with the epoch
	packer  packer
}

// A key is one secret's. Its id is a few bits of a digest, so that it stays when secrets are added or reordered; two
// keys may share one, and then both are tried.
type key struct {
	id   byte
	aead cipher.AEAD
}

// New makes a Sealer; an error names the option that is at fault and shows no secret.
func New(o Options) (*Sealer, error) {
	if o.Issuer == "" {
		return nil, errors.New("codes: the issuer is empty")
	}
	if len(o.Epoch) < minEpoch {
		return nil, fmt.Errorf("codes: the epoch has %d bytes: it needs at least %d", len(o.Epoch), minEpoch)
	}
	packer, err := newPacker(o.Prefixes)
	if err != nil {
		return nil, fmt.Errorf("codes: %w", err)
	}
	keys, err := newKeys(o.Secrets)
	if err != nil {
		return nil, fmt.Errorf("codes: %w", err)
	}
	s := &Sealer{keys: keys, packer: packer}
	h := sha256.New()
	writeField(h, contextDomain)
	writeField(h, o.Issuer)
	writeField(h, string(o.Epoch))
	for _, p := range packer.prefixes {
		writeField(h, p)
	}
	h.Sum(s.context[:0])
	h.Reset()
	writeField(h, markDomain)
	writeField(h, o.Issuer)
	h.Sum(s.issuer[:0])
	h.Write(o.Epoch)
	h.Sum(s.epoch[:0])
	return s, nil
}

func newKeys(secrets [][]byte) ([]key, error) {
	if len(secrets) == 0 {
		return nil, errors.New("no secret: one must seal")
	}
	keys := make([]key, 0, len(secrets))
	for i, secret := range secrets {
		if len(secret) < minSecret {
			return nil, fmt.Errorf("secret %d has %d bytes: it needs at least %d", i, len(secret), minSecret)
		}
		for j := range i {
			if bytes.Equal(secret, secrets[j]) {
				return nil, fmt.Errorf("secrets %d and %d are the same", j, i)
			}
		}
		k, err := newKey(secret)
		if err != nil {
			return nil, fmt.Errorf("secret %d: %w", i, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func newKey(secret []byte) (key, error) {
	derived, err := hkdf.Key(sha256.New, secret, nil, keyInfo, chacha20poly1305.KeySize)
	if err != nil {
		return key{}, err
	}
	aead, err := chacha20poly1305.NewX(derived)
	if err != nil {
		return key{}, err
	}
	h := sha256.New()
	writeField(h, keyIDDomain)
	writeField(h, string(derived))
	return key{id: h.Sum(nil)[0] & 0x0f, aead: aead}, nil
}

// Seal makes a code of g that only a redeemer who presents b can use. A *refusal.Error with CodeTooLong says that
// tenant and subject do not fit, one with BodyInvalid that either is not text; other errors are faults of the caller.
func (s *Sealer) Seal(g Grant, b Binding) (string, error) {
	sealing := s.keys[0]
	var raw [codeSize]byte
	raw[0] = version<<4 | sealing.id
	raw[1] = b.flags()
	nonce := raw[headerSize : headerSize+nonceSize]
	rand.Read(nonce[:randomSize]) // never fails (crypto/rand)
	s.mark(nonce)
	plain := raw[headerSize+nonceSize:][:plainSize]
	if err := s.packer.putGrant(plain, g); err != nil {
		return "", err
	}
	var room [associatedRoom]byte
	sealing.aead.Seal(plain[:0], nonce, plain, s.associated(room[:0], raw[:headerSize], b))
	return encoding.EncodeToString(raw[:]), nil
}

// Opened is an authentic code.
type Opened struct {
	Grant
	// Nonce is the code's identity, for the replay guard.
	Nonce [nonceSize]byte
}

// Open answers what the code says if this Sealer, or one like it, sealed it for a redeemer who presents this. What the
// code is not bound to is not looked at. Errors are *refusal.Error: CodeMalformed for what does not look like a code of
// anybody's, CodeOtherEpoch for what looks like one of this issuer, sealed elsewhere or before, CodeUnknown for
// whatever else we did not seal for this use.
func (s *Sealer) Open(code string, presented Binding) (*Opened, error) {
	raw, err := decode(code)
	if err != nil {
		return nil, err
	}
	nonce := raw[headerSize : headerSize+nonceSize]
	var room [associatedRoom]byte
	associated := s.associated(room[:0], raw[:headerSize], presented)
	var plain [plainSize]byte
	for _, k := range s.keys {
		if k.id != raw[0]&0x0f {
			continue
		}
		if _, err := k.aead.Open(plain[:0], nonce, raw[headerSize+nonceSize:], associated); err != nil {
			continue
		}
		g, err := s.packer.grant(plain[:])
		if err != nil {
			return nil, refusal.Because(refusal.CodeUnknown, "sealed by a key of ours, with another content: %v", err)
		}
		return &Opened{Grant: g, Nonce: [nonceSize]byte(nonce)}, nil
	}
	if s.elsewhere(nonce) {
		return nil, refusal.Because(refusal.CodeOtherEpoch,
			"it has the mark of a code of this issuer, of another process or epoch")
	}
	return nil, refusal.Because(refusal.CodeUnknown, "no key of ours sealed it for this use")
}

// mark fills in what the nonce has beside its random bytes: two bytes that tell issuer and epoch, and three that
// tell the issuer. Nothing is accepted for them: they are there so that the log can tell a code of another process,
// or of an epoch that is over, from one that is made up. Anyone can imitate the issuer's part, but not the
// epoch's.
func (s *Sealer) mark(nonce []byte) {
	fill(nonce[randomSize:randomSize+epochMark], &s.epoch, nonce[:randomSize])
	fill(nonce[randomSize+epochMark:], &s.issuer, nonce[:randomSize+epochMark])
}

// elsewhere reports whether a code that does not open looks like one of this issuer that was sealed under another
// epoch.
func (s *Sealer) elsewhere(nonce []byte) bool {
	var epoch [epochMark]byte
	var issuer [issuerMark]byte
	fill(epoch[:], &s.epoch, nonce[:randomSize])
	fill(issuer[:], &s.issuer, nonce[:randomSize+epochMark])
	return bytes.HasSuffix(nonce, issuer[:]) && !bytes.Equal(nonce[randomSize:randomSize+epochMark], epoch[:])
}

// fill copies as much of a digest of a key and of something of a fixed size as there is room for.
func fill(dst []byte, key *[sha256.Size]byte, what []byte) {
	var room [sha256.Size + nonceSize]byte
	sum := sha256.Sum256(append(append(room[:0], key[:]...), what...))
	copy(dst, sum[:])
}

// associatedRoom holds the associated data of a usual code without an allocation.
const associatedRoom = 256

// associated appends what must be the same at Seal and at Open. The header and the context have fixed sizes and the
// header tells which fields follow, each with its length: no two uses share the bytes.
func (s *Sealer) associated(dst, header []byte, b Binding) []byte {
	dst = append(dst, header...)
	dst = append(dst, s.context[:]...)
	if header[1]&boundClient != 0 {
		dst = appendField(dst, b.ClientID)
	}
	if header[1]&boundChallenge != 0 {
		dst = appendField(dst, b.Challenge)
	}
	if header[1]&boundRedirect != 0 {
		dst = appendField(dst, b.RedirectURI)
	}
	if header[1]&boundKey != 0 {
		dst = appendField(dst, b.Key)
	}
	return dst
}

func appendField(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(len(s)))
	return append(dst, s...)
}

func writeField(h hash.Hash, s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:]) // a hash never fails
	io.WriteString(h, s)
}
