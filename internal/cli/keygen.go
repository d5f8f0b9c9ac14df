package cli

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/jose"
)

// secretBytes is what a client secret or a code secret is made of.
const secretBytes = 32

func keygenCommand() command {
	return command{
		name: "keygen", usage: "[--alg ALG | --secret]", brief: "print a new private key, or a new secret", run: keygen,
		words: map[string][]string{"alg": {"ES256", "RS256", "EdDSA"}},
		help: `Prints a new private key as PEM (PKCS #8): ES256 (P-256), RS256 (2048 bits) or EdDSA (Ed25519). With --secret it prints
256 random bits in base64url, for a client secret or for code_secrets.

  (umask 077; jotgate keygen > keys/main.pem)
  export WEB_SECRET=$(jotgate keygen --secret)
`,
	}
}

func keygen(p *Process, c *call) error {
	alg := c.String("alg", "ES256", "`ALG` of the key: ES256, RS256 or EdDSA")
	secret := c.Bool("secret", false, "print a secret instead of a key")
	if err := c.parse(0); err != nil {
		return err
	}
	if *secret {
		if c.given("alg") {
			return usagef("--alg conflicts with --secret: a secret has no algorithm")
		}
		_, err := fmt.Fprintln(p.Stdout, newSecret())
		return err
	}
	if known := c.command.words["alg"]; !slices.Contains(known, *alg) {
		return usagef("--alg %q is not one of %s", *alg, strings.Join(known, ", "))
	}
	text, err := newKey(*alg)
	if err != nil {
		return err
	}
	_, err = p.Stdout.Write(text)
	return err
}

func newSecret() string {
	b := make([]byte, secretBytes)
	rand.Read(b) // never fails: without randomness the process ends itself
	return base64.RawURLEncoding.EncodeToString(b)
}

func newKey(alg string) ([]byte, error) {
	key, err := jose.Generate(alg)
	if err != nil {
		return nil, fmt.Errorf("make an %s key: %w", alg, err)
	}
	return key.MarshalPEM()
}
