package proxy

import (
	"errors"
	"strings"

	"github.com/jotgate/jotgate/internal/dpop"
	"github.com/jotgate/jotgate/internal/refusal"
)

func stepProof() step {
	return step{
		name: "proof", about: aboutToken, run: (*Gate).proof,
		say: func(_ *Gate, p *inbound) string {
			said, c := "", &p.entry.verified.Claims
			if c.Cert != "" {
				said = "sent with the certificate " + c.Cert
			}
			if c.Key != "" {
				said = strings.TrimPrefix(said+"; by key "+c.Key+"; whether it was used before was not asked", "; ")
			}
			return said
		},
		need: func(_ *Gate, p *inbound, reason refusal.Reason) string {
			switch reason {
			case refusal.TokenCertMismatch:
				return "a connection with the client certificate whose SHA-256 is " + p.entry.verified.Claims.Cert
			case refusal.TokenBound:
				return "Authorization: DPoP TOKEN, with a header DPoP: a proof by key " + p.entry.verified.Claims.Key
			case refusal.TokenUnbound:
				return "a token that is bound to a key with Authorization: DPoP, one that is not with Bearer"
			}
			return "one header DPoP: a proof of now for this method, URL and token, by the key that the token is bound to"
		},
	}
}

// proof holds a token that is bound to a key (cnf.jkt, RFC 9449 §6) to a proof that the sender of this request has the
// key. Bound tokens and the scheme DPoP go together: the one without the other is refused (§7.1, §7.2), since a thief
// would leave the proof out. Nothing of a proof is kept with the token: each request brings its own, and it is spent
// before the policy is asked, so that a stolen copy cannot find out what the token opens.
func (g *Gate) proof(p *inbound) error {
	if p.entry.verified.Claims.Cert != "" { // of a ticket's token, too: its holder has the certificate
		if err := p.hasCertificate(); err != nil {
			return err
		}
	}
	if !p.dpop && p.entry.verified.Claims.Key == "" || p.ticketed {
		return nil // a plain bearer, or a ticket that was drawn with a proof
	}
	if p.trial != nil && p.trial.unproven() {
		return skipped("the token is bound to key " + p.entry.verified.Claims.Key + ": each request must bring a proof by it")
	}
	proof, err := g.shown(p)
	if err != nil || p.trial != nil { // a trial spends nothing
		return err
	}
	if waited, err := proof.Await(p.r.Context()); err != nil {
		return err
	} else if waited { // the token may have ended meanwhile
		p.now = g.clock()
		if err := errors.Join(g.timely(p), g.unrevoked(p)); err != nil {
			return err
		}
	}
	return proof.Spend(p.r.Context())
}

// shown judges the proof by everything but whether it came before.
func (g *Gate) shown(p *inbound) (*dpop.Proof, error) {
	key := p.entry.verified.Claims.Key
	switch {
	case key == "":
		return nil, &refusal.Error{Reason: refusal.TokenUnbound, Detail: "sent as DPoP, and bound to no key"}
	case !p.dpop:
		return nil, &refusal.Error{Reason: refusal.TokenBound}
	}
	of := p
	if p.drawer != nil {
		of = p.drawer // it is what the client has sent
	}
	proof, err := g.proofs.Read(of.r.Header[dpop.Header], &dpop.Request{
		Method: of.r.Method, Scheme: of.x.Scheme, Host: of.authority(), Path: of.x.Target.Path, Token: p.token, Key: key,
	})
	if refusal.Of(err) == refusal.ProofNonce {
		p.x.Header()[dpop.NonceHeader] = []string{g.proofs.Nonce()}
	}
	if err != nil {
		return nil, err
	}
	if proof.Nonce != "" {
		p.x.Header()[dpop.NonceHeader] = []string{proof.Nonce}
	}
	return proof, proof.Verify()
}

// authority is the host and port that the client used: the Host field or, where a trusted proxy has replaced that, what
// the proxy says it was.
func (p *inbound) authority() string {
	if told := p.r.Header["X-Forwarded-Host"]; p.x.Trusted && len(told) == 1 {
		return told[0]
	}
	return p.r.Host
}
