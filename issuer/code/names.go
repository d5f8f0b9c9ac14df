package code

import (
	"crypto/sha256"

	"github.com/google/uuid"

	"github.com/jotgate/jotgate/internal/token"
)

const tokenIDDomain = "jotgate token id of an authorization code\x00"

// A Digest stands for the name of a client or of a role in a code.
type Digest = token.Digest

// DigestOf is the digest of name.
func DigestOf(name string) Digest { return token.DigestOf(name) }

// Collision finds two different names that share a digest; the first two, in the order given.
func Collision(names []string) (a, b string, found bool) {
	seen := make(map[Digest]string, len(names))
	for _, n := range names {
		d := DigestOf(n)
		if other, ok := seen[d]; ok && other != n {
			return other, n, true
		}
		seen[d] = n
	}
	return "", "", false
}

// TokenID is the jti of the token that the code of this nonce is redeemed for: a UUID of version 8 (RFC 9562 §5.8). It
// is known without a store whenever the code is presented again, and tells nothing of the nonce.
func TokenID(nonce [24]byte) string {
	sum := sha256.Sum256(append([]byte(tokenIDDomain), nonce[:]...))
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}
