//go:build linux

package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/token"
)

// The names that all contestants' configurations share. Nothing is ever asked of these hosts.
const (
	issuerURL    = "http://gate.example"
	otherIssuer  = "http://other.example" // signs with HS256, which no gate does for itself
	audience     = issuerURL + "/api"
	client       = "bench"
	tenant       = "acme"
	goodPath     = "/t/acme/orders"
	largePath    = "/t/acme/large"
	uploadPath   = "/t/acme/upload"
	smallAnswer  = 1 << 10
	largeAnswer  = 1 << 20
	tokenBytes   = 1 << 12 // more than any of ours has
	tokenLife    = 2 * time.Hour
	expiredSince = time.Minute
)

// tokens are those that the loads bring, a thousand of each kind, and the keys that they were signed with.
type tokens struct {
	folder  string
	keys    map[string]*jose.PrivateKey
	secret  string // of HS256
	good    map[string][]string
	forged  []string // ES256, each with the signature of another
	expired []string // ES256
	strayed []string // ES256, for another audience
}

// algorithms are those that are measured where the check of a signature is.
func algorithms() []string { return []string{"ES256", "RS256", "HS256"} }

func newTokens(folder string, n int, now time.Time) (*tokens, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	t := &tokens{folder: folder, keys: map[string]*jose.PrivateKey{}, good: map[string][]string{}}
	if err := t.makeKeys(); err != nil {
		return nil, err
	}
	for _, alg := range algorithms() {
		for i := range n {
			compact, err := t.sign(alg, t.claims(alg, i, now))
			if err != nil {
				return nil, err
			}
			t.good[alg] = append(t.good[alg], compact)
		}
	}
	return t, t.makeBad(n, now)
}

// makeKeys leaves with every private key its public half, as HAProxy reads it.
func (t *tokens) makeKeys() error {
	for _, alg := range jose.SigningAlgorithms() {
		key, err := jose.Generate(alg)
		if err != nil {
			return err
		}
		t.keys[alg] = key
		private, err := key.MarshalPEM()
		if err != nil {
			return err
		}
		public, err := publicPEM(private)
		if err != nil {
			return err
		}
		if err := errors.Join(os.WriteFile(t.privateFile(alg), private, 0o600),
			os.WriteFile(t.publicFile(alg), public, 0o600)); err != nil {
			return err
		}
	}
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	t.secret = hex.EncodeToString(random)
	jwk := fmt.Sprintf(`{"kty":"oct","alg":"HS256","kid":"hs","k":%q}`,
		base64.RawURLEncoding.EncodeToString([]byte(t.secret)))
	return os.WriteFile(t.secretFile(), []byte(jwk), 0o600)
}

func (t *tokens) privateFile(alg string) string { return filepath.Join(t.folder, alg+".pem") }
func (t *tokens) publicFile(alg string) string  { return filepath.Join(t.folder, alg+".pub") }
func (t *tokens) secretFile() string            { return filepath.Join(t.folder, "HS256.json") }

// issuer is whose tokens have this algorithm.
func issuer(alg string) string {
	if alg == "HS256" {
		return otherIssuer
	}
	return issuerURL
}

func (t *tokens) claims(alg string, i int, now time.Time) *token.Claims {
	by := client
	if alg == "HS256" {
		by = "other" // a client of ours would be refused in another issuer's token
	}
	return &token.Claims{
		Issuer: issuer(alg), Subject: fmt.Sprintf("user-%04d", i), Audience: []string{audience}, ClientID: by,
		Grantor: by,
		ID:      uuid.NewString(), IssuedAt: now.UnixMilli(), Expiry: now.Add(tokenLife).UnixMilli(),
		Permissions: token.Permissions{{Tenant: tenant, AllowedActions: []string{"READ", "WRITE"}}},
	}
}

func (t *tokens) sign(alg string, c *token.Claims) (string, error) {
	payload := jose.EncodeClaims(nil, c)
	if key := t.keys[alg]; key != nil {
		return key.Sign(jose.TypeAccessToken, payload)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"at+jwt","kid":"hs"}`)) + "." + encode(payload)
	mac := hmac.New(sha256.New, []byte(t.secret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil)), nil
}

func (t *tokens) makeBad(n int, now time.Time) error {
	good := t.good["ES256"]
	for i := range n {
		t.forged = append(t.forged, withSignatureOf(good[i], good[(i+1)%n]))
		old := t.claims("ES256", i, now.Add(-tokenLife-expiredSince))
		stray := t.claims("ES256", i, now)
		stray.Audience = []string{"http://elsewhere.example/api"}
		expired, err := t.sign("ES256", old)
		strayed, err1 := t.sign("ES256", stray)
		if err := errors.Join(err, err1); err != nil {
			return err
		}
		t.expired, t.strayed = append(t.expired, expired), append(t.strayed, strayed)
	}
	return nil
}

// withSignatureOf makes a token of the right shape whose signature is genuine, but another's.
func withSignatureOf(compact, other string) string {
	return compact[:strings.LastIndexByte(compact, '.')] + other[strings.LastIndexByte(other, '.'):]
}
