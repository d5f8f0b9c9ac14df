package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/fips140"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha512"
	"hash"
	"math/big"
	"sync"
	"sync/atomic"
	"time"

	"filippo.io/bigmod"
)

// A prepared key verifies as the standard library does, but what is the same for all its signatures is computed once.
// For the library each key is a new one, and half of what an ES256 token costs seen for the first time is what it
// computes again. But for a shared secret all of this is public: nothing has to take the same time for all inputs.
type prepared interface {
	// verify reports whether the key made this signature over signed. The algorithm fits the key.
	verify(a algorithm, signed, signature []byte) bool
}

const (
	// A key is prepared, for 0.3 MB and 2 ms at most, when its signatures have this weight together: keys of commands
	// that end soon are spared it. Bad signatures count for less, as any client can send them, but a flood of them must
	// not be dearer than good ones.
	preparedAt = 64
	goodWeight = 4
	badWeight  = 1
	// preparedIdle is how long a prepared key is not used before another may take its place.
	preparedIdle = time.Minute
	// recheckEvery is after how many accepted signatures the standard library is asked for a second opinion.
	recheckEvery = 1024
)

// DefaultPreparedKeys is how many keys are prepared at a time where the configuration does not say otherwise.
const DefaultPreparedKeys = 64

// preparations are the keys that are prepared. A nil one prepares nothing.
type preparations struct {
	most   int
	now    func() time.Time
	mu     sync.Mutex
	keys   map[*PublicKey]*preparation
	ended  atomic.Bool   // a prepared key and the standard library disagreed
	judged atomic.Uint64 // accepted signatures of prepared keys
	tell   atomic.Pointer[func(kid string)]
	tamper func(good bool) bool // of tests: what a prepared key answers
}

// A preparation is one key's, with the time of its last use.
type preparation struct {
	prepared
	used time.Time
}

// newPreparations is nil where nothing is to be prepared, and where only the FIPS 140 module may compute.
func newPreparations(most int) *preparations {
	if most <= 0 || fips140.Enabled() {
		return nil
	}
	return &preparations{most: most, now: time.Now, keys: make(map[*PublicKey]*preparation)}
}

// adopt returns what goes on of p after earlier: the keys that are prepared already, where as many may be, and in any
// case that a disagreement ended it all.
func (p *preparations) adopt(earlier *preparations) *preparations {
	if p == nil || earlier == nil {
		return p
	}
	if earlier.most == p.most {
		if tell := p.tell.Load(); tell != nil {
			earlier.tell.Store(tell)
		}
		return earlier
	}
	p.ended.Store(earlier.ended.Load())
	return p
}

// verify reports whether the key made this signature over signed.
func (p *preparations) verify(key *PublicKey, alg string, signed, signature []byte) bool {
	a := algorithms[alg]
	if p == nil || !preparable(a) || p.ended.Load() {
		return a.verify(key.material, signed, signature)
	}
	if ready := p.of(key); ready != nil {
		good := ready.verify(a, signed, signature)
		if p.tamper != nil {
			good = p.tamper(good)
		}
		if good && a.family != familyHMAC && p.judged.Add(1)%recheckEvery == 0 {
			return p.recheck(key, a, signed, signature)
		}
		return good
	}
	good, weight := a.verify(key.material, signed, signature), uint32(badWeight)
	if good {
		weight = goodWeight
	}
	if sum := key.weight.Add(weight); sum/preparedAt != (sum-weight)/preparedAt {
		p.prepare(key, a)
	}
	return good
}

// recheck asks the standard library about a signature that a prepared key accepted. Should the two disagree, nothing is
// prepared any more as long as the process lives.
func (p *preparations) recheck(key *PublicKey, a algorithm, signed, signature []byte) bool {
	if a.verify(key.material, signed, signature) {
		return true
	}
	if p.ended.CompareAndSwap(false, true) {
		p.mu.Lock()
		clear(p.keys)
		p.mu.Unlock()
		if tell := p.tell.Load(); tell != nil {
			(*tell)(key.id)
		}
	}
	return false
}

func (p *preparations) of(key *PublicKey) prepared {
	p.mu.Lock()
	defer p.mu.Unlock()
	ready := p.keys[key]
	if ready == nil {
		return nil
	}
	ready.used = p.now()
	return ready.prepared
}

func (p *preparations) prepare(key *PublicKey, a algorithm) {
	if !p.room() {
		return
	}
	ready := prepare(key.material, a) // others go on without meanwhile
	if ready == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.makeRoom() && !p.ended.Load() {
		p.keys[key] = &preparation{ready, p.now()}
	}
}

func (p *preparations) room() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.makeRoom()
}

// makeRoom reports whether one more key can be prepared, and drops those that are idle where all places are taken. A
// key that is in use is never dropped: with more keys in use than places, preparing would cost more than it saves.
func (p *preparations) makeRoom() bool {
	if len(p.keys) < p.most {
		return true
	}
	now := p.now()
	for key, ready := range p.keys {
		if now.Sub(ready.used) >= preparedIdle {
			delete(p.keys, key)
		}
	}
	return len(p.keys) < p.most
}

func preparable(a algorithm) bool {
	return a.family == familyHMAC || a.family == familyRSA || a.family == familyEC && a.bits == 256
}

// prepare gives nil for a key that newPublicKey would not let through.
func prepare(material any, a algorithm) prepared {
	switch key := material.(type) {
	case hmacSecret:
		return newHMACPrepared(key, a.hash)
	case *ecdsa.PublicKey:
		if m := newMultiples(key); m != nil {
			return m
		}
	case *rsa.PublicKey:
		if n, err := bigmod.NewModulus(key.N.Bytes()); err == nil {
			return &rsaPrepared{modulus: n, exponent: uint(key.E)}
		}
	}
	return nil
}

// An hmacPrepared has the secret's two blocks hashed, and keeps a few of these states for the next messages. The one
// thing here that is secret is compared as secrets are.
type hmacPrepared struct {
	hash   crypto.Hash // a state is of one hash function
	states sync.Pool   // of hash.Hash
}

func newHMACPrepared(secret hmacSecret, of crypto.Hash) *hmacPrepared {
	return &hmacPrepared{hash: of, states: sync.Pool{New: func() any { return hmac.New(of.New, secret) }}}
}

func (k *hmacPrepared) verify(a algorithm, signed, signature []byte) bool {
	if a.hash != k.hash { // cannot be: a symmetric key names its alg
		return false
	}
	mac := k.states.Get().(hash.Hash)
	defer k.states.Put(mac)
	mac.Reset()
	mac.Write(signed)
	var room [sha512.Size]byte
	return hmac.Equal(mac.Sum(room[:0]), signature)
}

// An rsaPrepared is an RSA public key whose modulus is ready for Montgomery's multiplication.
type rsaPrepared struct {
	modulus  *bigmod.Modulus
	exponent uint
}

// verify is RSASSA-PKCS1-v1_5 (RFC 8017 §8.2.2). What the message must have been encoded as is written anew and
// compared whole: nothing is parsed that a forger could have chosen.
func (k *rsaPrepared) verify(a algorithm, signed, signature []byte) bool {
	return k.verifyDigest(a.hash, a.digest(signed), signature)
}

func (k *rsaPrepared) verifyDigest(hash crypto.Hash, digest, signature []byte) bool {
	if len(signature) != k.modulus.Size() {
		return false
	}
	s, err := bigmod.NewNat().SetBytes(signature, k.modulus) // not if it is the modulus or above: step 2b
	if err != nil {
		return false
	}
	encoded := s.ExpShortVarTime(s, k.exponent, k.modulus).Bytes(k.modulus)
	return bytes.Equal(encoded, encodePKCS1(hash, digest, len(signature)))
}

// digestInfo is the DER in front of a digest (RFC 8017 §9.2, note 1).
var digestInfo = map[crypto.Hash]string{
	crypto.SHA256: "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
	crypto.SHA384: "\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
	crypto.SHA512: "\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
}

// encodePKCS1 is EMSA-PKCS1-v1_5 (RFC 8017 §9.2). Keys have 2048 bits or more, so that there is always room.
func encodePKCS1(hash crypto.Hash, digest []byte, size int) []byte {
	encoded := append(make([]byte, 0, size), 0, 1)
	for range size - len("\x00\x01\x00") - len(digestInfo[hash]) - len(digest) {
		encoded = append(encoded, 0xff)
	}
	encoded = append(append(encoded, 0), digestInfo[hash]...)
	return append(encoded, digest...)
}

// verify is ECDSA (FIPS 186-5 §6.4.2) for P-256 with SHA-256.
func (m *multiples) verify(a algorithm, signed, signature []byte) bool {
	return m.verifyDigest(a.digest(signed), signature)
}

func (m *multiples) verifyDigest(digest, signature []byte) bool {
	const size = 32
	if len(signature) != 2*size || len(digest) != size {
		return false
	}
	r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
	if r.Sign() == 0 || s.Sign() == 0 || r.Cmp(m.order) >= 0 || s.Cmp(m.order) >= 0 {
		return false
	}
	w := s.ModInverse(s, m.order) // the order is prime
	u := new(big.Int).SetBytes(digest)
	u.Mod(u.Mul(u, w), m.order)
	v := w.Mod(w.Mul(w, r), m.order)
	x, ok := m.sum(u, v)
	return ok && x.Mod(x, m.order).Cmp(r) == 0
}
