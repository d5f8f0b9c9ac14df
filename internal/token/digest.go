package token

import "crypto/sha256"

// digestDomain keeps these digests apart from every other use of SHA-256.
const digestDomain = "jotgate name in an authorization code\x00"

// A Digest stands for the name of a client or of a role where there is room for four bytes alone, in a code. The config
// holds no two clients, and no two roles, of one digest: they would be taken for each other.
type Digest [4]byte

// DigestOf is the digest of name.
func DigestOf(name string) Digest {
	sum := sha256.Sum256([]byte(digestDomain + name))
	return Digest(sum[:4])
}

// A ClaimDigest stands for the name of a custom claim in a code, among those of one client.
type ClaimDigest [2]byte

// ClaimDigestOf is the digest of a custom claim's name.
func ClaimDigestOf(name string) ClaimDigest {
	sum := sha256.Sum256([]byte("jotgate claim\x00" + name))
	return ClaimDigest(sum[:2])
}
