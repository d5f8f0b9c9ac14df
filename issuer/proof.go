package issuer

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/dpop"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// A client that sends a DPoP proof to the token endpoint gets a token that is bound to the proof's key (RFC 9449 §5).
// The proof is read before the grant is judged, since claims and codes depend on its key; its signature is checked and
// it is spent when nothing else can refuse the request but the code itself.

// schemeDPoP is the token_type of bound tokens (RFC 9449 §5).
const schemeDPoP = "DPoP"

// newProofs makes the Checker of an issuer that stands alone.
func newProofs(c *config.Config, clock func() time.Time) (*dpop.Checker, error) {
	o := dpop.Options{MaxAge: time.Minute, NonceTTL: 5 * time.Minute, Leeway: c.ClockLeeway, Clock: clock}
	var err error
	if o.State, err = dpop.NewState(dpop.LeastCapacity, o.MaxAge, clock); err != nil {
		return nil, err
	}
	return dpop.New(o)
}

// readProof takes the proof of a request to the token endpoint, if there is one.
func (c *call) readProof() (err error) {
	fields, there := c.r.Header[dpop.Header]
	if !there {
		return nil
	}
	if c.proof, err = c.issuer.proofs.Read(fields, c.proofRequest()); err != nil {
		return c.proofFault(err)
	}
	return nil
}

// proofRequest is what a proof for this request must say: our endpoints are where issuer.url says, whatever proxies
// there are in front.
func (c *call) proofRequest() *dpop.Request {
	scheme, host, _ := strings.Cut(origin(c.issuer.settings.URL), "://")
	return &dpop.Request{Method: c.r.Method, Scheme: scheme, Host: host, Path: c.r.URL.EscapedPath(), Known: true}
}

// proofFault is RFC 9449 §5's refusal of a proof: 400, and 401 only where a token comes with it.
func (c *call) proofFault(err error) error {
	f := &fault{reason: refusal.Of(err), status: http.StatusBadRequest, detail: err.Error()}
	var cause *refusal.Error
	if errors.As(err, &cause) {
		f.detail = cause.Detail
	}
	switch f.reason {
	case refusal.ProofNonce:
		f.header = http.Header{dpop.NonceHeader: {c.issuer.proofs.Nonce()}}
	case refusal.StoreUnavailable, refusal.InternalError:
		return err
	}
	return f
}

// bind binds a token that is about to be signed to the proof's key, and lets none go unbound whose client must bind
// them.
func (c *call) bind(claims *token.Claims) error {
	if c.proof != nil {
		claims.Key = c.proof.Thumbprint
	}
	if c.thumbprint != "" {
		claims.Cert = c.thumbprint
	}
	client := c.issuer.clients.byID[claims.ClientID]
	if client != nil && client.Certificate != nil && claims.Cert == "" {
		return refusal.Because(refusal.CodeNotCovered, "the tokens of client %s are bound to its certificate, which this "+
			"request does not come with", client.ID)
	}
	if client == nil || !client.Bound || claims.Key != "" {
		return nil
	}
	if _, ok := c.endpoint.dialect.(oauth); !ok {
		return refusal.Because(refusal.CodeNotCovered, "client %s must bind its tokens to a key, and this API has no proofs",
			client.ID)
	}
	return c.proofFault(refusal.Because(refusal.ProofMissing, "client %s must bind its tokens to a key", client.ID))
}

// await waits for the time at which the request's proof was made, if there is one and that lies ahead. It comes when
// the caller is known, or its code is a good one, and before anything is held that others wait for.
func (c *call) await() error {
	if c.proof == nil || !c.proof.Ahead() {
		return nil
	}
	if err := c.proof.Verify(); err != nil {
		return c.proofFault(err)
	}
	if _, err := c.proof.Await(c.r.Context()); err != nil {
		return c.proofFault(err)
	}
	c.now = c.issuer.clock()
	return nil
}

// prove accepts the request's proof, if there is one. It comes last but for the code.
func (c *call) prove() error {
	if c.proof == nil {
		return nil
	}
	if err := c.proof.Verify(); err != nil {
		return c.proofFault(err)
	}
	if err := c.proof.Spend(c.r.Context()); err != nil {
		return c.proofFault(err)
	}
	return nil
}

// mustBind holds a token to its client's entry in the present config.
func mustBind(client *config.Client, t *token.Claims) error {
	if client.Bound && t.Key == "" {
		return refusal.Because(refusal.TokenUnbound, "client %s must bind its tokens to a key", client.ID)
	}
	if client.Certificate != nil && t.Cert == "" {
		return refusal.Because(refusal.TokenUnbound, "client %s must bind its tokens to its certificate", client.ID)
	}
	return nil
}

// holdsKey reports whether the sender of a token may use it: one that is bound to a key needs a proof by it for this
// request, and never passes for a plain bearer (RFC 9449 §7).
func (c *call) holdsKey(v *jose.Verified, given credential) error {
	switch key := v.Claims.Key; {
	case key == "" && !given.dpop:
		return nil
	case key == "":
		return &refusal.Error{Reason: refusal.TokenUnbound, Detail: "sent as DPoP, and bound to no key"}
	case !given.dpop:
		return &refusal.Error{Reason: refusal.TokenBound}
	}
	q := c.proofRequest()
	q.Token, q.Key = given.text, v.Claims.Key
	proof, err := c.issuer.proofs.Read(c.r.Header[dpop.Header], q)
	if refusal.Of(err) == refusal.ProofNonce {
		return &fault{
			reason: refusal.ProofNonce, detail: err.Error(),
			header: http.Header{dpop.NonceHeader: {c.issuer.proofs.Nonce()}},
		}
	}
	if err != nil {
		return err
	}
	if err := proof.Verify(); err != nil {
		return err
	}
	if proof.Nonce != "" {
		c.x.Header()[dpop.NonceHeader] = []string{proof.Nonce}
	}
	if _, err := proof.Await(c.r.Context()); err != nil {
		return err
	}
	c.now = c.issuer.clock()
	return proof.Spend(c.r.Context())
}
