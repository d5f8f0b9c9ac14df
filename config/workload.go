package config

import (
	"slices"
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/strictjson"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// A Workload says which tokens of a trusted issuer authenticate a client: those of one workload (RFC 7523 §2.2).
type Workload struct {
	Issuer      string // a trusted one, whose kinds have workload
	Subject     string // the exact sub; "": see Prefix
	Prefix      string // sub begins with it, and it ends at a border of names; "": any sub
	Claims      []jose.Requirement
	Audiences   []string      // aud is one of these, and nothing else: our issuer's URL, and what audience names
	MaxLifetime time.Duration // from when the token was issued to its end
	Once        bool          // each token authenticates once, by its jti
}

// defaultWorkloadLifetime is what Kubernetes gives a projected token by default.
const (
	defaultWorkloadLifetime = time.Hour
	mostWorkloadLifetime    = 366 * 24 * time.Hour // the tokens that Kubernetes extends to a year
)

type writtenWorkload struct {
	issuer      yaml.Setting[string]
	subject     yaml.Setting[writtenSubject]
	claims      yaml.Setting[[]yaml.Named[jose.Condition]]
	audience    yaml.Setting[string]
	maxLifetime yaml.Setting[time.Duration]
	once        yaml.Setting[bool]
}

type writtenSubject struct{ exact, prefix string }

func workload() yaml.Kind[writtenWorkload] {
	type t = writtenWorkload
	exact := yaml.Convert(yaml.Text(isShort).Like(filledLike), func(s string) writtenSubject {
		return writtenSubject{exact: s}
	})
	prefix := yaml.Mapping(
		yaml.Plain("prefix", yaml.Text(isSubjectPrefix).Like(subjectPrefixLike),
			func(s *writtenSubject) *string { return &s.prefix },
			"sub begins with this text, which ends in : or /").Must("write {prefix: \"repo:acme/shop:\"}"),
	)
	return yaml.Mapping(
		yaml.Placed("issuer", yaml.Text(isForeignIssuer).Like(filledLike),
			func(i *t) *yaml.Setting[string] { return &i.issuer },
			"iss of its tokens: one of trusted_issuers, whose kinds have workload").Must("name one of trusted_issuers"),
		yaml.Placed("subject", yaml.Either(prefix, exact), func(i *t) *yaml.Setting[writtenSubject] { return &i.subject },
			`the exact sub, or {prefix: "repo:acme/shop:"}`),
		yaml.Placed("claims", yaml.Names(yaml.Text(isClaimPath).Like(filledLike), condition()),
			func(i *t) *yaml.Setting[[]yaml.Named[jose.Condition]] { return &i.claims },
			"what its claims must hold, as in require_claims; without subject, one of them names the workload by a text"),
		yaml.Placed("audience", yaml.Text(isAudience).Like(audienceLike),
			func(i *t) *yaml.Setting[string] { return &i.audience },
			"the only aud that its tokens may have, beside issuer.url alone; no route takes it; default issuer.url"),
		yaml.Placed("max_lifetime", yaml.Seconds(time.Second, mostWorkloadLifetime),
			func(i *t) *yaml.Setting[time.Duration] { return &i.maxLifetime },
			"maximum lifetime of its tokens, from iat to exp; longer ones are refused").
			Or(yaml.SpellDuration(defaultWorkloadLifetime)),
		yaml.Placed("once", yaml.Boolean(), func(i *t) *yaml.Setting[bool] { return &i.once },
			"each token authenticates once, by its jti").Or("false"),
	)
}

// subjectPrefixLike is isSubjectPrefix in the schema.
const subjectPrefixLike = `^.*[:/]$`

// isSubjectPrefix wants a border at the end: "…:prod:app" would be a prefix of "…:prod:app-evil", too.
func isSubjectPrefix(s string) (problem, remedy string) {
	if problem, remedy := isShort(s); problem != "" {
		return problem, remedy
	}
	if !strings.HasSuffix(s, ":") && !strings.HasSuffix(s, "/") {
		return "does not end in : or /, so it is a prefix of other workloads' names",
			"end it with the separator, or write the exact subject"
	}
	return "", ""
}

// everyones reports whether every subject of a platform has the prefix, so that it names no workload.
func everyones(prefix string) bool {
	switch prefix {
	case "repo:", "system:", "system:serviceaccount:", "project_path:", "spiffe:", "spiffe:/", "spiffe://":
		return true
	}
	domain, ofSPIFFE := strings.CutPrefix(prefix, "spiffe://")
	return ofSPIFFE && strings.Index(domain, "/") == len(domain)-1 // the whole trust domain
}

func (b *builder) workload(w yaml.Setting[writtenWorkload]) *Workload {
	if !w.Given {
		return nil
	}
	i := &Workload{
		Issuer: w.Value.issuer.Value, Subject: w.Value.subject.Value.exact, Prefix: w.Value.subject.Value.prefix,
		Audiences: []string{b.Issuer.URL}, MaxLifetime: w.Value.maxLifetime.Value, Once: w.Value.once.Value,
	}
	for _, claim := range w.Value.claims.Value {
		if !claim.Bad {
			i.Claims = append(i.Claims, jose.Requirement{Claim: claimOf(claim.Name), Condition: claim.Value})
		}
	}
	if a := w.Value.audience; a.Usable() && a.Value != b.Issuer.URL {
		i.Audiences = append(i.Audiences, a.Value)
	}
	switch {
	case w.Value.subject.Given && !w.Value.subject.Usable():
	case i.Subject == "" && i.Prefix == "" && !w.Value.claims.Given:
		b.Fault(w.At, "names no workload: any token of the issuer would do", "add subject, or claims that name the workload")
	case i.Subject == "" && i.Prefix == "" && i.Naming() == nil:
		b.Fault(w.Value.claims.At, "names no workload: no claim has to equal a text",
			"add subject, or a claim that names the workload, like repository: acme/shop")
	case everyones(i.Prefix):
		b.Fault(w.Value.subject.At, "is a prefix that every token of the platform has", "name the workload, or its namespace")
	}
	return i
}

// Naming is a claim that has to equal a text, or to hold one; nil if there is none.
func (i *Workload) Naming() *jose.Requirement {
	for n := range i.Claims {
		if q := &i.Claims[n]; names(q.Condition) {
			return q
		}
	}
	return nil
}

// names reports whether a claim that meets the condition has one of some texts.
func names(c jose.Condition) bool {
	return len(c) > 0 && !slices.ContainsFunc(c, func(a jose.Alternative) bool {
		return a.Present || a.Scalar.Kind != strictjson.KindString || a.Scalar.Text == ""
	})
}

// Matches reports whether a token of the Issuer is the workload's. claim returns one that Config.Retained names.
func (i *Workload) Matches(subject string, claim func(jose.Path) jose.Value) bool {
	switch {
	case i.Subject != "" && subject != i.Subject:
		return false
	case i.Prefix != "" && (len(subject) <= len(i.Prefix) || !strings.HasPrefix(subject, i.Prefix)):
		return false
	}
	for n := range i.Claims {
		if q := &i.Claims[n]; !q.Condition.Holds(claim(q.Claim)) {
			return false
		}
	}
	return true
}

// checkWorkloads holds the identities to what else the file says. It comes after all that takes tokens.
func (b *builder) checkWorkloads() {
	if b.Issuer == nil {
		return
	}
	taken := b.takenAudiences()
	index := workloadIndex{}
	for n, c := range b.Issuer.Clients {
		i, w := c.Identity, b.file.issuer.Value.clients[n].Value.identity
		if i == nil || !w.Value.issuer.Usable() {
			continue
		}
		b.checkWorkloadIssuer(i, w.Value.issuer)
		for _, a := range i.Audiences {
			at := w.At
			if a == w.Value.audience.Value {
				at = w.Value.audience.At
			}
			if by, is := taken[a]; is {
				b.Fault(at, yaml.Quote(a)+" is an audience of "+by+", so its tokens would open routes",
					"choose an audience that no route takes, like "+yaml.Quote(b.Issuer.URL+"/oauth2/token"))
			}
		}
		if whole(w) {
			index.add(c)
		}
	}
	for n, c := range b.Issuer.Clients {
		if c.Identity == nil || !whole(b.file.issuer.Value.clients[n].Value.identity) {
			continue
		}
		if other := index.overlapping(c); other != nil {
			b.Fault(b.file.issuer.Value.clients[n].Value.identity.At,
				"can be met by a token that also meets that of client "+yaml.Quote(other.ID),
				"tell the two apart by subject, or by a claim that both name")
		}
	}
}

// whole reports whether an identity could be read, so that it can be compared with others.
func whole(w yaml.Setting[writtenWorkload]) bool {
	return w.Usable() && w.Value.subject.Given == w.Value.subject.Usable()
}

// takenAudiences are those of tokens that open routes, with the place that takes them.
func (b *builder) takenAudiences() map[string]string {
	taken := map[string]string{}
	add := func(by string, all []string) {
		for _, a := range all {
			if taken[a] == "" {
				taken[a] = by
			}
		}
	}
	add("issuer.audiences", b.Issuer.Audiences)
	for _, t := range b.TrustedIssuers {
		add("trusted issuer "+yaml.Quote(t.Issuer), t.Audiences)
	}
	for _, r := range b.Routes {
		add("route "+yaml.Quote(r.Name), r.Audiences)
	}
	return taken
}

func (b *builder) checkWorkloadIssuer(i *Workload, at yaml.Setting[string]) {
	n := slices.IndexFunc(b.TrustedIssuers, func(t *TrustedIssuer) bool { return t.Issuer == i.Issuer })
	switch {
	case n < 0:
		b.Fault(at.At, at.Shown+" is not one of trusted_issuers", "add it there, or correct the spelling")
	case !slices.Contains(b.TrustedIssuers[n].Kinds, jose.KindWorkload):
		b.Fault(at.At, at.Shown+" has no tokens of workloads", "add workload to its kinds in trusted_issuers")
	}
	if b.isClient(i.Issuer) {
		b.Fault(at.At, at.Shown+" is a client's id, too, so an assertion does not say whose it is", "rename the client")
	}
}

// A workloadIndex finds identities that one token is sure to be able to meet: those that differ in nothing that both
// name, where one names all that the other does. Others are found out when such a token comes, which is refused.
type workloadIndex map[string][]*Client

func (x workloadIndex) add(c *Client) {
	i := c.Identity
	x.put(i.subjectKey(), c)
	for _, q := range i.Claims {
		for _, a := range q.Condition {
			x.put(i.claimKey(q.Claim, a), c)
		}
	}
}

func (x workloadIndex) put(key string, c *Client) {
	if all := x[key]; len(all) == 0 || all[len(all)-1] != c {
		x[key] = append(all, c)
	}
}

// overlapping returns a client other than c that a token of c's could be as well; nil if none is known. Of two, it is
// the one that names less of a subject, or of the claims, that finds the other.
func (x workloadIndex) overlapping(c *Client) *Client {
	i := c.Identity
	var candidates []*Client
	switch {
	case i.Subject != "" || i.Prefix != "":
		candidates = x[i.subjectKey()]
		for _, wide := range prefixesOf(i.Subject + i.Prefix) {
			candidates = append(slices.Clip(candidates), x[i.Issuer+"\x00^"+wide]...)
		}
	default:
		for n := range i.Claims { // the claim that the fewest others name with the same values
			var found []*Client
			for _, a := range i.Claims[n].Condition {
				found = append(found, x[i.claimKey(i.Claims[n].Claim, a)]...)
			}
			if names(i.Claims[n].Condition) && (candidates == nil || len(found) < len(candidates)) {
				candidates = found
			}
		}
	}
	for _, other := range candidates {
		if other != c && i.overlaps(other.Identity) {
			return other
		}
	}
	return nil
}

func (i *Workload) subjectKey() string {
	if i.Prefix != "" {
		return i.Issuer + "\x00^" + i.Prefix
	}
	return i.Issuer + "\x00=" + i.Subject
}

func (i *Workload) claimKey(claim jose.Path, a jose.Alternative) string {
	return i.Issuer + "\x00." + claim.String() + "\x00" + a.Scalar.Text
}

// prefixesOf lists what of a subject a prefix can be, the whole of a prefix among them.
func prefixesOf(subject string) (all []string) {
	for n := range len(subject) {
		if subject[n] == ':' || subject[n] == '/' {
			all = append(all, subject[:n+1])
		}
	}
	return all
}

// overlaps reports whether a token that meets both is sure to be possible.
func (i *Workload) overlaps(other *Workload) bool {
	mine, theirs := i.Subject+i.Prefix, other.Subject+other.Prefix
	more, fewer := mine != "" && theirs == "", mine == "" && theirs != ""
	switch {
	case mine == "" || theirs == "":
	case mine == theirs, i.Prefix != "" && strings.HasPrefix(theirs, mine),
		other.Prefix != "" && strings.HasPrefix(mine, theirs):
	default:
		return false
	}
	common := 0
	for _, q := range i.Claims {
		for _, p := range other.Claims {
			if !slices.Equal(q.Claim, p.Claim) {
				continue
			}
			common++
			if !meet(q.Condition, p.Condition) {
				return false
			}
		}
	}
	more, fewer = more || common < len(i.Claims), fewer || common < len(other.Claims)
	return !more || !fewer
}

// meet reports whether one value surely meets both conditions.
func meet(a, b jose.Condition) bool {
	for _, x := range a {
		for _, y := range b {
			if x.Present || y.Present || x == y {
				return true
			}
		}
	}
	return false
}
