package issuer

import (
	"slices"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
)

// workloads finds the clients that trusted issuers' tokens authenticate (RFC 7523 §2.2): by the exact subject, by the
// beginning of one, or by a text that a claim has. However many clients there are, a token is compared with few.
type workloads map[string]*workloadsOf // by issuer

type workloadsOf struct {
	audiences map[string]bool
	subjects  map[string][]*config.Client
	prefixes  map[string][]*config.Client
	claims    []jose.Path // each once
	named     map[claimed][]*config.Client
}

// claimed is a text at the claim of this number.
type claimed struct {
	claim int
	text  string
}

func newWorkloads(clients []*config.Client) workloads {
	all := workloads{}
	for _, c := range clients {
		if c.Identity == nil {
			continue
		}
		of := all[c.Identity.Issuer]
		if of == nil {
			of = &workloadsOf{
				audiences: map[string]bool{}, subjects: map[string][]*config.Client{}, prefixes: map[string][]*config.Client{},
				named: map[claimed][]*config.Client{},
			}
			all[c.Identity.Issuer] = of
		}
		of.add(c)
	}
	return all
}

func (of *workloadsOf) add(c *config.Client) {
	i := c.Identity
	for _, a := range i.Audiences {
		of.audiences[a] = true
	}
	switch {
	case i.Subject != "":
		of.subjects[i.Subject] = append(of.subjects[i.Subject], c)
	case i.Prefix != "":
		of.prefixes[i.Prefix] = append(of.prefixes[i.Prefix], c)
	default:
		naming := i.Naming() // the config has seen to it that there is one
		n := slices.IndexFunc(of.claims, func(p jose.Path) bool { return slices.Equal(p, naming.Claim) })
		if n < 0 {
			n = len(of.claims)
			of.claims = append(of.claims, naming.Claim)
		}
		for _, a := range naming.Condition {
			key := claimed{n, a.Scalar.Text}
			of.named[key] = append(of.named[key], c)
		}
	}
}

// candidates calls each with every client that a token's subject or claims may be the workload of.
func (of *workloadsOf) candidates(v *jose.Verified, each func(*config.Client)) {
	subject := v.Claims.Subject
	for _, c := range of.subjects[subject] {
		each(c)
	}
	if len(of.prefixes) > 0 {
		for n := range len(subject) {
			if subject[n] == ':' || subject[n] == '/' {
				for _, c := range of.prefixes[subject[:n+1]] {
					each(c)
				}
			}
		}
	}
	for n, claim := range of.claims {
		seen := map[string]bool{} // a list may hold one text often
		for _, text := range v.Claim(claim).Strings() {
			if !seen[text] {
				seen[text] = true
				for _, c := range of.named[claimed{n, text}] {
					each(c)
				}
			}
		}
	}
}

// workload is the client whose workload a trusted issuer's token is of. The token is judged as the gate judges one, by
// its issuer's entry, and is revoked as one; but no route takes its audience.
func (i *Issuer) workload(c *call, who presented) (*config.Client, error) {
	v, err := i.verifier.Verify(who.assertion, c.now, i.ofWorkload)
	if err != nil {
		return nil, assertionFault(err)
	}
	client, err := i.meantBy(v)
	if err != nil {
		return nil, assertionFault(err)
	}
	if err := c.workloadMay(client, v, who); err != nil {
		return nil, assertionFault(err)
	}
	c.workload = v.Claims.Subject + " of " + v.Claims.Issuer
	return client, nil
}

// ofWorkload is what can be told before the signature is paid for.
func (i *Issuer) ofWorkload(v *jose.Verified) error {
	of, t := i.workloads[v.Issuer.URL], &v.Claims
	switch {
	case v.Issuer.Own || of == nil:
		return refusal.Because(refusal.ClientUnauthenticated, "no client is a workload of issuer %.130q", t.Issuer)
	case v.Kind != jose.KindWorkload:
		return refusal.Because(refusal.ClientUnauthenticated, "an %s token, where a workload's is wanted", v.Kind)
	case len(t.Audience) != 1 || !of.audiences[t.Audience[0]]:
		return refusal.Because(refusal.ClientUnauthenticated, "aud %.100q is not one value that names us alone", t.Audience)
	case t.IssuedAt == 0 && t.NotBefore == 0:
		return refusal.Because(refusal.ClientUnauthenticated, "neither iat nor nbf, so its lifetime is not known")
	case t.Cert != "":
		return refusal.Because(refusal.TokenBindingUnsupported, "a token that is bound to a certificate")
	}
	return nil
}

// meantBy finds the one client whose workload has the token. Two are none: which of them it is may not depend on the
// order of the config.
func (i *Issuer) meantBy(v *jose.Verified) (*config.Client, error) {
	var found []*config.Client
	i.workloads[v.Issuer.URL].candidates(v, func(c *config.Client) {
		if slices.Contains(c.Identity.Audiences, v.Claims.Audience[0]) && c.Identity.Matches(v.Claims.Subject, v.Claim) &&
			!slices.Contains(found, c) {
			found = append(found, c)
		}
	})
	switch len(found) {
	case 0:
		return nil, refusal.Because(refusal.ClientUnauthenticated, "no client is the workload %.130q of issuer %s",
			v.Claims.Subject, v.Issuer.URL)
	case 1:
		return found[0], nil
	}
	return nil, refusal.Because(refusal.ClientUnauthenticated, "clients %s and %s are both the workload %.130q",
		found[0].ID, found[1].ID, v.Claims.Subject)
}

// workloadMay holds a token to the rest of its client's identity. Its jti is consumed last, where it is for once.
func (c *call) workloadMay(client *config.Client, v *jose.Verified, who presented) error {
	i, t, identity := c.issuer, &v.Claims, client.Identity
	made := t.IssuedAt
	if made == 0 {
		made = t.NotBefore
	}
	switch {
	case who.id != "" && who.id != client.ID:
		return refusal.Because(refusal.ClientUnauthenticated, "client_id is not %s, whose workload it is", client.ID)
	case t.Expiry-made > identity.MaxLifetime.Milliseconds():
		return refusal.Because(refusal.TokenLifetimeTooLong, "%d ms, max_lifetime of client %s is %v", t.Expiry-made,
			client.ID, identity.MaxLifetime)
	case t.Key != "" && (c.proof == nil || c.proof.Thumbprint != t.Key): // who has it may be a thief
		return refusal.Because(refusal.TokenBound, "bound to a key that this request has no proof of")
	case identity.Once && t.ID == "":
		return refusal.Because(refusal.ClientUnauthenticated, "no jti, and identity.once of client %s needs one", client.ID)
	}
	if i.revocations != nil {
		if err := i.revocations.Check(v, c.now); err != nil {
			return err
		}
	}
	if !identity.Once {
		return nil
	}
	err := i.spend(c, spent{
		client: client.ID, name: "workload\x00" + t.Issuer + "\x00" + t.ID, made: made, notBefore: t.NotBefore,
		expiry: t.Expiry, guard: i.workloadsOnce,
	})
	c.now = i.clock() // the token may have been held
	return err
}
