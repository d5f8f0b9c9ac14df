package dpop

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"
)

const (
	// nonceInfo keeps the key that secrets give for nonces apart from all others that come of the same secret.
	nonceInfo = "jotgate dpop nonce v1"

	timeSize  = 6 // milliseconds since 1970
	macSize   = 16
	nonceSize = timeSize + macSize
)

// nonces makes and reads nonces: the time at which one was made, with a MAC.
type nonces struct {
	keys [][]byte // the first makes
	ttl  int64    // ms
}

func newNonces(secrets [][]byte, ttl time.Duration) (*nonces, error) {
	n := &nonces{ttl: ttl.Milliseconds()}
	for i, secret := range secrets {
		if len(secret) < LeastSecret {
			return nil, fmt.Errorf("dpop: nonce secret %d has %d bytes: it needs at least %d", i, len(secret), LeastSecret)
		}
		key, err := hkdf.Key(sha256.New, secret, nil, nonceInfo, sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("dpop: nonce secret %d: %w", i, err)
		}
		n.keys = append(n.keys, key)
	}
	return n, nil
}

var nonceEncoding = base64.RawURLEncoding.Strict()

func (n *nonces) make(at int64) string {
	var raw [8 + sha256.Size]byte
	binary.BigEndian.PutUint64(raw[:8], uint64(at))
	sum := mac(n.keys[0], raw[8-timeSize:8])
	return nonceEncoding.EncodeToString(append(raw[8-timeSize:8:8], sum...))
}

// read gives the time at which one of us made the nonce.
func (n *nonces) read(text string) (at int64, ok bool) {
	if len(text) != nonceEncoding.EncodedLen(nonceSize) {
		return 0, false
	}
	raw, err := nonceEncoding.DecodeString(text)
	if err != nil || len(raw) != nonceSize {
		return 0, false
	}
	for _, key := range n.keys {
		if hmac.Equal(raw[timeSize:], mac(key, raw[:timeSize])) {
			ok = true
		}
	}
	var whole [8]byte
	copy(whole[8-timeSize:], raw[:timeSize])
	return int64(binary.BigEndian.Uint64(whole[:])), ok
}

func mac(key, data []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(data) // a hash never fails
	return h.Sum(nil)[:macSize]
}
