package app

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/trust"
)

// widerMade lists what is wider of what was made of the file: trusted issuers, whose presets fill in what the file does
// not say, and the keys that sign.
func widerMade(old, fresh *config.Config) []string {
	var c comparison
	issuers := map[string]*config.TrustedIssuer{}
	for _, t := range old.TrustedIssuers {
		issuers[issuerName(t)] = t
	}
	for _, t := range fresh.TrustedIssuers {
		before := issuers[issuerName(t)]
		if before == nil {
			c.say("trusted_issuers", issuerName(t))
			continue
		}
		c.issuer("trusted_issuers["+issuerName(t)+"]", before, t)
	}
	c.signing(old, fresh)
	if old.Issuer != nil { // an audience that is new is told by itself
		for _, a := range trust.General(fresh) {
			if slices.Contains(old.Issuer.Audiences, a) && !slices.Contains(trust.General(old), a) {
				c.say("issuer.audiences of routes without their own", a)
			}
		}
	}
	return c.list
}

// issuerName is the issuer as tokens spell it, or what stands for it.
func issuerName(t *config.TrustedIssuer) string {
	return orElse(t.Issuer, "trust domain "+t.TrustDomain)
}

func (c *comparison) issuer(at string, a, b *config.TrustedIssuer) {
	c.more(at+".audiences", a.Audiences, b.Audiences)
	c.more(at+".token_types", orDefault(a.TokenTypes), orDefault(b.TokenTypes))
	c.more(at+".kinds", kindsOf(a), kindsOf(b))
	c.more(at+".keys", fetched(a), fetched(b))
	if b.Keys != nil {
		for _, k := range b.Keys.Keys() {
			if !a.Keys.Holds(k) {
				c.say(at+".keys", k.ID())
			}
		}
	}
	c.fewer(at+".require_claims", claimsOf(a.Require), claimsOf(b.Require))
	c.within(at+".algorithms", a.Algorithms, b.Algorithms)
	if b.MaxTokenTTL > a.MaxTokenTTL {
		c.say(at+".max_token_ttl", b.MaxTokenTTL.String())
	}
}

func kindsOf(t *config.TrustedIssuer) []string {
	if len(t.Kinds) == 0 {
		return []string{"access"}
	}
	return texts(t.Kinds)
}

// fetched says where an issuer's keys are fetched from. A query of the address may hold a credential.
func fetched(t *config.TrustedIssuer) []string {
	if t.Remote == nil {
		return nil
	}
	return []string{"fetched from " + withoutQuery(orElse(t.Remote.URL, "where its metadata says"))}
}

// withoutQuery tells a query by its digest.
func withoutQuery(address string) string {
	before, query, found := strings.Cut(address, "?")
	if !found {
		return address
	}
	sum := sha256.Sum256([]byte(query))
	return before + "?(query " + hex.EncodeToString(sum[:4]) + "…)"
}

// signing compares the keys that sign our own tokens: by the content of their files where it is at hand, and else by
// their names. What a folder holds is the folder's, and rotates.
func (c *comparison) signing(old, fresh *config.Config) {
	var before []string
	for _, k := range signingKeys(old) {
		before = append(before, k.name, k.content)
	}
	for _, k := range signingKeys(fresh) {
		known := k.content
		if known == "" {
			known = k.name
		}
		c.moreOf("issuer.keys", before, known, k.name)
	}
}

func (c *comparison) moreOf(at string, before []string, word, shown string) {
	for _, b := range before {
		if b == word {
			return
		}
	}
	c.say(at, shown)
}

type signingKey struct{ name, content string }

func signingKeys(c *config.Config) (all []signingKey) {
	at := c.Said
	for _, name := range []string{"issuer", "keys"} {
		if at = keyOf(at, nil, name); at == nil {
			return nil
		}
	}
	for _, k := range at.List {
		if dir := textOf(keyOf(k, nil, "dir")); dir != "" {
			all = append(all, signingKey{name: "dir " + dir})
			continue
		}
		file := textOf(keyOf(k, nil, "file"))
		all = append(all, signingKey{file, contentOf(c, file)})
	}
	return all
}

func texts[T any](list []T) []string {
	all := make([]string, len(list))
	for i := range list {
		all[i] = fmt.Sprint(list[i])
	}
	return all
}

func wordsOf(words string) []string {
	if words == "none" { // an oddity's word for no oddity
		return nil
	}
	return strings.FieldsFunc(words, func(c rune) bool { return c == ',' || c == ' ' })
}

func orDefault(types []string) []string {
	all := slices.Clone(types)
	for i := range all {
		if all[i] == "" {
			all[i] = "none"
		}
	}
	return all
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
