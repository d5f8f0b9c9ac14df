//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// The requests that people have: known tokens with the header of a browser, from many clients, now and then, and with
// what a configuration adds to each request.

const (
	fieldsOfWrk = 2 // Host and the token
	clientsMany = 256
	calmRate    = 256 // requests a second
)

func manyFields(ctx context.Context, b *bench, r *Case) error {
	return b.known(ctx, r, load{many: b.connections, fields: 32 - fieldsOfWrk}, gateOf{}, 1.6)
}

func manyClients(ctx context.Context, b *bench, r *Case) error {
	return b.known(ctx, r, load{many: clientsMany}, gateOf{}, 1.5)
}

func tracing(ctx context.Context, b *bench, r *Case) error {
	return b.known(ctx, r, load{many: b.connections}, gateOf{traced: true}, 0)
}

func assertion(ctx context.Context, b *bench, r *Case) error {
	return b.known(ctx, r, load{many: b.connections}, gateOf{signed: true}, 0)
}

// plainGate is the gate without what the case adds.
const plainGate = "jotgate plain"

// known measures known tokens at nginx and at a gate, and where the case is about what a configuration adds, at a gate
// without that too.
func (b *bench) known(ctx context.Context, r *Case, l load, o gateOf, aim float64) error {
	file, err := b.requests("known", "GET", []string{goodPath}, b.tokens.good["ES256"])
	if err != nil {
		return err
	}
	l.file = file
	return b.beside(ctx, r, o, aim, func(name string, s *server) *contestant { return b.onWrk(name, s, l) })
}

func (b *bench) beside(
	ctx context.Context, r *Case, o gateOf, aim float64, drive func(name string, s *server) *contestant,
) error {
	plain, err := b.nginx(ctx, nil)
	if err != nil {
		return err
	}
	all, pairs := []*contestant{drive(nginxName, plain)}, []pair{{gateName, nginxName, aim}, {gateName, baseName, 0}}
	if o.traced || o.signed {
		s, err := b.jotgate(ctx, gateOf{name: plainGate, binary: b.gate})
		if err != nil {
			return err
		}
		all, pairs = append(all, drive(plainGate, s)), append(pairs, pair{gateName, plainGate, 0})
	}
	err = b.gates(ctx, o, func(name string, s *server) { all = append(all, drive(name, s)) })
	if err != nil {
		return err
	}
	return b.compete(ctx, r, all, pairs)
}

// calm asks at a rate at which every request finds the gate asleep.
func calm(ctx context.Context, b *bench, r *Case) error {
	return b.beside(ctx, r, gateOf{}, 1.8, func(name string, s *server) *contestant {
		var heads [][]byte
		for _, bearer := range b.tokens.good["ES256"] {
			heads = append(heads, getHead(s.address, bearer))
		}
		c := &contestant{name: name, process: s.process, prepare: s.forgetLog}
		c.turn = func(ctx context.Context) (tally, error) {
			n := max(1, int(b.turn.Seconds()*calmRate))
			_, wrong, err := openLoop(ctx, s.address, heads, n, time.Second/calmRate, b.connections)
			return tally{requests: n, wrong: wrong}, err
		}
		return c
	})
}

const (
	proofKeys    = 32
	proofsOfTurn = 4096 // made before the turn; each is good for one request
	boundName    = "jotgate with proofs"
)

// proofs measures known tokens that are bound to a key beside known bearers, at the same gate.
func proofs(ctx context.Context, b *bench, r *Case) error {
	var all []*contestant
	keys, err := newProofKeys(b)
	if err != nil {
		return err
	}
	err = b.gates(ctx, gateOf{}, func(name string, s *server) {
		one := func(name string, head func(i int) ([]byte, error)) {
			var heads [][]byte
			c := &contestant{name: name, process: s.process}
			c.prepare = func(ctx context.Context) error {
				heads = heads[:0]
				for i := range proofsOfTurn {
					text, err := head(i)
					if err != nil {
						return err
					}
					heads = append(heads, text)
				}
				return s.forgetLog(ctx)
			}
			c.turn = func(ctx context.Context) (tally, error) {
				_, wrong, err := openLoop(ctx, s.address, heads, len(heads), 0, b.connections)
				return tally{requests: len(heads), wrong: wrong}, err
			}
			all = append(all, c)
		}
		good := b.tokens.good["ES256"]
		one(name, func(i int) ([]byte, error) { return getHead(s.address, good[i%len(good)]), nil })
		if name == gateName {
			one(boundName, func(i int) ([]byte, error) { return keys[i%len(keys)].head(s.address, goodPath) })
		}
	})
	if err != nil {
		return err
	}
	return b.compete(ctx, r, all, []pair{{boundName, gateName, 4}, {gateName, baseName, 0}})
}

// A proofKey is a client's key with a token that is bound to it (RFC 9449).
type proofKey struct {
	private *ecdsa.PrivateKey
	jwk     map[string]string
	token   string
}

func newProofKeys(b *bench) (all []*proofKey, err error) {
	for i := range proofKeys {
		k := new(proofKey)
		if k.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
		point, err := k.private.PublicKey.Bytes()
		if err != nil {
			return nil, err
		}
		k.jwk = map[string]string{"kty": "EC", "crv": "P-256", "x": base64URL(point[1:33]), "y": base64URL(point[33:])}
		text, err := json.Marshal(k.jwk) // its members are the required ones, sorted (RFC 7638)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		claims := b.tokens.claims("ES256", i, time.Now())
		claims.Key = base64URL(sum[:])
		if k.token, err = b.tokens.sign("ES256", claims); err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	return all, nil
}

// head is a request with a proof of now.
func (k *proofKey) head(host, path string) ([]byte, error) {
	header, err := json.Marshal(map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": k.jwk})
	if err != nil {
		return nil, err
	}
	token := sha256.Sum256([]byte(k.token))
	payload, err := json.Marshal(map[string]any{
		"jti": uuid.NewString(), "htm": "GET", "htu": "http://" + host + path, "iat": time.Now().Unix(),
		"ath": base64URL(token[:]),
	})
	if err != nil {
		return nil, err
	}
	signed := base64URL(header) + "." + base64URL(payload)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, digest[:])
	if err != nil {
		return nil, err
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: DPoP %s\r\nDPoP: %s.%s\r\n\r\n",
		path, host, k.token, signed, base64URL(signature[:])), nil
}

func base64URL(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
