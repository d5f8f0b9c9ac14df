//go:build linux

package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/token"
)

// mint measures the endpoints that sign. What they are held against is a server of the same kind, net/http with the
// same answer's length, that does nothing but read the body and make one bare signature.
func mint(ctx context.Context, b *bench, r *Case) error {
	for _, alg := range []string{"ES256", "EdDSA", "RS256"} {
		n := b.codes
		if alg == "RS256" {
			n /= 10
		}
		all, pairs, err := b.minters(ctx, alg, n)
		if err != nil {
			return err
		}
		if err := b.compete(ctx, r, all, pairs); err != nil {
			return err
		}
	}
	return nil
}

const (
	mintPath   = "/api/1/access_token/create?accessTokenId=" + accessTokenID
	codePath   = "/api/v1/authorization-codes"
	redeemPath = "/api/v1/tokens"

	mintConnections = 8 // few enough for RS256, of which a gate does only so many at a time
)

func (b *bench) minters(ctx context.Context, alg string, n int) ([]*contestant, []pair, error) {
	bare, err := b.signer(ctx, alg)
	if err != nil {
		return nil, nil, err
	}
	gate, err := b.jotgate(ctx, gateOf{name: gateName, binary: b.gate, signs: alg})
	if err != nil {
		return nil, nil, err
	}
	body := fmt.Appendf(nil, `{"application":"shop","tenantPermissions":[{"tenant":%q,"allowedActions":["READ"]}],"expiresOn":%d}`,
		tenant, time.Now().Add(tokenLife).UnixMilli())
	bodies := make([][]byte, n)
	for i := range bodies {
		bodies[i] = body
	}
	manage, err := b.management(alg)
	if err != nil {
		return nil, nil, err
	}
	send := func(s *server, path string, want int, bodies *[][]byte) func(context.Context) (tally, error) {
		return func(ctx context.Context) (tally, error) {
			return post(ctx, s.address, path, "", mintConnections, *bodies, want, nil)
		}
	}
	var codes [][]byte
	fetch := func(ctx context.Context) (err error) {
		codes, err = newCodes(ctx, gate.address, manage, n)
		return errors.Join(err, gate.forgetLog(ctx))
	}
	signName, mintName, redeemName := "bare signature "+alg, "mint "+alg, "redeem "+alg
	all := []*contestant{
		{name: signName, process: bare.process, turn: send(bare, "/", http.StatusCreated, &bodies)},
		{name: mintName, process: gate.process, prepare: gate.forgetLog, turn: send(gate, mintPath, http.StatusOK, &bodies)},
		{name: redeemName, process: gate.process, prepare: fetch, turn: send(gate, redeemPath, http.StatusCreated, &codes)},
	}
	return all, []pair{{mintName, signName, mintAim(alg)}, {redeemName, mintName, 1.15}, {redeemName, signName, 0}}, nil
}

// mintAim is 0 for RS256, which has none.
func mintAim(alg string) float64 {
	if alg == "RS256" {
		return 0
	}
	return 1.3
}

// management is a token with which the bench client may issue codes.
func (b *bench) management(alg string) (string, error) {
	now := time.Now()
	c := &token.Claims{
		Issuer: issuerURL, Subject: client, Audience: []string{issuerURL}, ClientID: client, ID: "manage",
		Scope:    token.IssueCodes,
		IssuedAt: now.UnixMilli(), Expiry: now.Add(tokenLife).UnixMilli(),
	}
	return b.tokens.sign(alg, c)
}

// newCodes fetches codes and makes requests of them that redeem each once.
func newCodes(ctx context.Context, address, manage string, n int) ([][]byte, error) {
	wanted, codes := make([][]byte, n), make([][]byte, n)
	for i := range wanted {
		wanted[i] = fmt.Appendf(nil, `{"subject":"user-%d","role":%q,"tenant":%q}`, i, readRole, tenant)
	}
	seen, err := post(ctx, address, codePath, manage, mintConnections, wanted, http.StatusCreated,
		func(i int, answer []byte) {
			var a struct {
				Code string `json:"authorization_code"`
			}
			if json.Unmarshal(answer, &a) == nil { // an empty code is refused, and so seen
				codes[i] = fmt.Appendf(nil, `{"authorization_code":%q}`, a.Code)
			}
		})
	if err == nil && seen.wrong > 0 {
		err = fmt.Errorf("%d of %d codes were refused", seen.wrong, n)
	}
	return codes, err
}

// roleSigner is this program's other part: the empty handler with a bare signature.
const roleSigner = "bare-signature-server"

// signer starts this program in that part.
func (b *bench) signer(ctx context.Context, alg string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	name := "bare signature " + alg
	p, err := b.running.start(name, b.gateCPU, b.path("signer-"+alg+".log"), self, roleSigner, address,
		b.tokens.privateFile(alg))
	if err != nil {
		return nil, err
	}
	s := &server{process: p, address: address}
	return s, s.ready(ctx, "")
}

// signerMain serves on an address: GET is the readiness that other contestants show too, POST the measured handler.
func signerMain(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%w: %s ADDRESS KEY", errUsage, roleSigner)
	}
	private, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	sign, err := bareSigner(private)
	if err != nil {
		return err
	}
	s := &http.Server{Addr: args[0], Handler: signHandler(sign), ReadHeaderTimeout: patience}
	return s.ListenAndServe()
}

func signHandler(sign func(message []byte) error) http.Handler {
	message := []byte(strings.Repeat("m", 420)) // header and claims of a token
	answer := `{"access_token":"` + strings.Repeat("t", 560) + `","token_type":"Bearer","expires_in":3600}`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, strings.Repeat("x", smallAnswer))
			return
		}
		_, err := io.Copy(io.Discard, r.Body)
		if err = errors.Join(err, sign(message)); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, answer)
	})
}

// bareSigner is the standard library's signature, and nothing around it.
func bareSigner(private []byte) (func(message []byte) error, error) {
	block, _ := pem.Decode(private)
	if block == nil {
		return nil, errors.New("the key is no PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		return func(m []byte) error {
			sum := sha256.Sum256(m)
			_, err := ecdsa.SignASN1(rand.Reader, k, sum[:])
			return err
		}, nil
	case *rsa.PrivateKey:
		return func(m []byte) error {
			sum := sha256.Sum256(m)
			_, err := rsa.SignPKCS1v15(nil, k, crypto.SHA256, sum[:])
			return err
		}, nil
	case ed25519.PrivateKey:
		return func(m []byte) error { ed25519.Sign(k, m); return nil }, nil
	}
	return nil, fmt.Errorf("a %T is none of the keys that are measured", key)
}
