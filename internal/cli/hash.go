package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// leastSecret is as many characters as 128 random bits take in base64url; the config asks for the same.
const leastSecret = 22

func hashCommand() command {
	return command{
		name: "hash", usage: "[@FILE | -]", brief: "print a client secret's SHA-256, for secret_sha256", run: hash,
		help: `Prints a client secret's SHA-256 for secret_sha256 in the config, so that the config does not hold the secret itself. The
secret comes from @FILE or, without an operand, from standard input.

  jotgate hash @web.secret
  (umask 077; jotgate keygen --secret | tee new.secret) | jotgate hash
`,
	}
}

func hash(p *Process, c *call) error {
	if err := c.parse(1); err != nil {
		return err
	}
	secret, err := p.credential(c.operand("-"))
	if err != nil {
		return err
	}
	// SHA-256 is quick to guess against, so what it hides must not be guessable: hence random secrets, not passwords.
	if len(secret) < leastSecret {
		return usagef("the secret has %d characters; it needs at least %d, random ones: jotgate keygen --secret makes one",
			len(secret), leastSecret)
	}
	digest := sha256.Sum256([]byte(secret))
	_, err = fmt.Fprintln(p.Stdout, hex.EncodeToString(digest[:]))
	return err
}
