package app

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// Every key of a configuration is here, by what a change of it can do. A key that is missing counts as one whose every
// change widens, and fails a test until it is put where it belongs.

// A rule says which changes of a key widen.
type rule int

const (
	ruleAny    rule = iota // every change: nothing here can judge it, and what is not known widens
	ruleJudged             // what is compared elsewhere: by the verdicts on requests, or by what was made of the key
	ruleNever              // none: it bounds resources, says what is told, or how an app is reached
	ruleMore               // each further word or item; none is no word
	ruleFewer              // each word or item that was dropped
	ruleWithin             // a closed list: each further word, and that there is none
	ruleOn                 // true
	ruleOff                // false, where it was true
	ruleHigher             // a larger number
)

// rules lists the keys of each rule, below the path that comes first in a line. A path ends in [] for an item of a list
// that is new, and in * for a name that is.
var rules = map[rule]string{
	ruleJudged: `
. roles roles.* roles.*[] trusted_issuers trusted_issuers[] routes routes[] claim_headers claim_headers[] token_from resources resources[]
roles.*[] tenant actions
claim_headers[] claim header join
token_from[] header cookie
resources[] resource path
issuer keys keys[] clients clients[] users users[]
issuer.keys[] file dir
issuer.clients[] id permissions delegate
issuer.clients[].permissions[] tenant actions
issuer.clients[].delegate[] tenant actions
issuer.users[] id role permissions
issuer.users[].permissions[] tenant actions
trusted_issuers[] issuer issuer_pattern issuer_values issuer_values.* keys keys[] jwks_url audiences algorithms
trusted_issuers[] token_types kinds require_claims require_claims.* require_claims.*[] permissions max_token_ttl
trusted_issuers[].keys[] file kid
trusted_issuers[].require_claims.* contains
trusted_issuers[].require_claims.*[] contains
trusted_issuers[].permissions[] tenant actions
routes[] name hosts path methods require public upstream insecure_allow forward_token audiences upgrade strip_prefix
routes[] add_prefix headers shadow cors allow_from deny_from token_from token_from[] claim_headers claim_headers[]
routes[] rate_limit rate_limit[] end_with_token
routes[].require action tenant tenant_from global scopes issuers claims claims.* claims.*[] client_cert
routes[].require.claims.* contains
routes[].require.claims.*[] contains
routes[].require.client_cert san
routes[].headers request response
routes[].headers.request set remove
routes[].headers.response set remove
routes[].cors origins methods headers expose credentials max_age
routes[].token_from[] header cookie
routes[].claim_headers[] claim header join
routes[].rate_limit requests per burst by shared
routes[].rate_limit[] requests per burst by shared`,

	ruleNever: `
. version watch limits log tracing drain replicas tests tests[] upstreams upstreams.*
listeners[] name h2c reuse_port
listeners[].tls certificates certificates[] acme
listeners[].tls.certificates[] cert key
listeners[].tls.acme domains email directory storage
admin refusals
limits header_bytes uri_bytes token_bytes token_body_bytes body_bytes connections h2_streams http2 in_flight streams
limits header_timeout body_timeout stall_timeout idle_timeout token_cache_bytes prepared_keys shared config_bytes
log level access format
tracing endpoint sample_ratio parent headers headers.* service
drain delay timeout
issuer.users.lookup bearer timeout entries bytes
issuer.keys[] create state
trusted_issuers[].fetch refresh cooldown wait timeout bearer headers headers.*
issuer.serve.cors max_age
cors max_age
resources[] authorization_servers scopes
dpop capacity
replay capacity
revocations capacity
redis pool dial_timeout timeout
tickets capacity
upstreams.* servers servers[] host connect_timeout response_timeout max_connections max_idle per_client balance health
upstreams.* eject retry resolve
upstreams.*.servers[] url weight
upstreams.*.balance hash
upstreams.*.health path grpc interval timeout up down status
upstreams.*.eject failures for statuses
upstreams.*.retry attempts budget
upstreams.*.tls cert key
routes[] body_bytes timeout stall_timeout login_url
tests[] request headers headers.* listener permissions claims expect
tests[].permissions[] tenant actions
tests[].expect refuse`,

	ruleMore: `
. listeners listeners[] trusted_proxies
issuer audiences code_secrets
issuer.clients[] may keys keys[]
issuer.serve.cors origins headers expose
cors origins headers expose
dpop origins nonce_secrets
tickets secrets`,

	ruleWithin: `
issuer.serve hosts`,

	ruleOn: `
admin pprof console
issuer.serve insecure_missing_tenant_is_any
issuer.serve.cors credentials
issuer.clients[] public
issuer.users open
trusted_issuers[] insecure_http exchange
cors credentials`,

	ruleOff: `
reload deny_widening
dpop require_nonce
issuer.clients[].identity once`,

	ruleHigher: `
. clock_leeway
limits issue_rate logout_rate
issuer code_ttl token_ttl max_token_ttl max_access_token_ttl
issuer.clients[] code_ttl
issuer.clients[].identity max_lifetime
issuer.users.lookup cache
trusted_issuers[].fetch max_age
dpop max_age nonce_ttl
revocations poll max_staleness
tickets ttl
upstreams.*.assertion ttl`,

	// Named, so that each was looked at.
	ruleAny: `
. reload listen admin decision tenant_pattern issuer cors dpop replay revocations redis identity_headers tickets
listeners[] address mode proxy_protocol tls redirect
listeners[].proxy_protocol from
listeners[].tls client_ca client_auth
admin listen token health_listen metrics_listen
decision listen from client_ca
issuer url code_prefixes serve
issuer.serve dialects access_token_prefix cors
issuer.serve.cors methods
issuer.clients[] secret secret_sha256 access_token_id audiences dpop
issuer.clients[] identity tls_client_auth claims
issuer.clients[].identity issuer subject claims claims.* claims.*[] audience
issuer.clients[].identity.subject prefix
issuer.clients[].identity.claims.* contains
issuer.clients[].identity.claims.*[] contains
issuer.clients[].tls_client_auth san_dns san_uri subject_dn listener
issuer.clients[].keys[] file
issuer.users role lookup
issuer.users.lookup url
issuer.users[] type
trusted_issuers[] preset trust_domain fetch audience_claims client_claim tenants roles roles[] actions
trusted_issuers[] logout_audiences logout_rate
routes[] listeners
trusted_issuers[].fetch ca_file
trusted_issuers[].tenants from split keys map map.* global
trusted_issuers[].roles from split keys tenants map map.*
trusted_issuers[].roles[] from split keys tenants map map.*
trusted_issuers[].actions from split keys map map.*
cors methods
replay store
revocations store file on_stale
redis url sentinel username password tls prefix skew
redis.sentinel master addresses username password database
redis.tls ca cert key server_name
identity_headers subject issuer client tenant actions token_id
upstreams.* tls ca_file assertion
upstreams.*.tls ca_file server_name
upstreams.*.assertion header audience`,
}

// ruleOf is the rule of each path.
func ruleOf() map[string]rule {
	all := map[string]rule{}
	for r, text := range rules {
		for line := range strings.Lines(text) {
			words := strings.Fields(line)
			for i, word := range words {
				switch {
				case i == 0:
				case words[0] == ".":
					all[word] = r
				default:
					all[words[0]+"."+word] = r
				}
			}
		}
	}
	return all
}

// widerKeys lists the settings that are wider in fresh than in old, of those that no request shows.
func widerKeys(old, fresh *config.Config) []string {
	w := widening{rules: ruleOf(), old: old, fresh: fresh}
	w.mapping("", "", old.Said, fresh.Said)
	return w.list
}

type widening struct {
	comparison
	rules      map[string]rule
	old, fresh *config.Config
}

// compare walks two trees; path is that of the rules, shown that of the values. A tree that is nil is not there.
func (w *widening) compare(path, shown string, a, b *yaml.Tree) {
	x, y := kindOf(a), kindOf(b)
	if x != y && x != "" && y != "" { // a word, say, and a mapping
		w.leaf(path, shown, a, b)
		a, x = nil, ""
	}
	switch cmp.Or(y, x) {
	case "mapping":
		w.mapping(path, shown, a, b)
	case "names":
		w.names(path, shown, a, b)
	case "items":
		w.items(path, shown, a, b)
	default:
		w.leaf(path, shown, a, b)
	}
}

// kindOf says how a tree is compared: by its members, or as a whole.
func kindOf(t *yaml.Tree) string {
	switch {
	case t == nil:
		return ""
	case t.Keys != nil && t.Shape.Type == "names":
		return "names"
	case t.Keys != nil && t.Shape.Type == "mapping":
		return "mapping"
	case slices.ContainsFunc(t.List, func(i *yaml.Tree) bool { return i.Keys != nil }):
		return "items"
	}
	return "whole"
}

func (w *widening) mapping(path, shown string, a, b *yaml.Tree) {
	for _, name := range keysOf(a, b) {
		w.compare(under(path, name), under(shown, name), keyOf(a, b, name), keyOf(b, a, name))
	}
}

// names compares what the operator named: a name that is new, or gone, is compared with nothing.
func (w *widening) names(path, shown string, a, b *yaml.Tree) {
	for _, name := range keysOf(a, b) {
		w.member(path+".*", under(shown, name), keyOf(a, nil, name), keyOf(b, nil, name))
	}
}

// items compares the items of two lists that are mappings, by what names each.
func (w *widening) items(path, shown string, a, b *yaml.Tree) {
	before, after := named(a), named(b)
	for _, name := range slices.Sorted(keys(before, after)) {
		w.member(path+"[]", shown+"["+name+"]", before[name], after[name])
	}
}

// member compares an item, or what has a name. One that is gone opens nothing by itself.
func (w *widening) member(path, shown string, a, b *yaml.Tree) {
	r, known := w.rules[path]
	switch {
	case b == nil && known && r != ruleAny:
	case a == nil && r == ruleMore:
		w.list = append(w.list, shown)
	case a == nil && known && r != ruleAny:
		w.added(path, shown, b)
	default:
		w.compare(path, shown, a, b)
	}
}

// added tells what an item that is new widens by itself: what it asks for narrows it.
func (w *widening) added(path, shown string, b *yaml.Tree) {
	for _, name := range keysOf(nil, b) {
		at := under(path, name)
		if r := w.rules[at]; r == ruleMore || r == ruleOn {
			w.compare(at, under(shown, name), nil, b.Keys[name])
		}
	}
}

func (w *widening) leaf(path, shown string, a, b *yaml.Tree) {
	if same(a, b) && !w.file(path, a, b) {
		return
	}
	r, known := w.rules[path]
	if !known {
		r = ruleAny
	}
	before, after := wordsIn(a), wordsIn(b)
	switch r {
	case ruleJudged, ruleNever:
	case ruleMore:
		w.more(shown, before, after)
	case ruleFewer:
		w.fewer(shown, before, after)
	case ruleWithin:
		w.within(shown, before, after)
	case ruleOn:
		w.on(shown, textOf(a) == "true", textOf(b) == "true")
	case ruleOff:
		w.off(shown, textOf(a) == "true", textOf(b) == "true")
	case ruleHigher:
		x, known := a.Number()
		if y, too := b.Number(); !known || !too || y > x {
			w.say(shown, spelled(path, b))
		}
	default:
		w.say(shown, spelled(path, b))
	}
}

// file reports whether a text names a file whose content has changed.
func (w *widening) file(path string, a, b *yaml.Tree) bool {
	last := path[strings.LastIndexByte(path, '.')+1:]
	return w.rules[path] == ruleAny && (strings.HasSuffix(last, "ca") || strings.HasSuffix(last, "file")) &&
		contentOf(w.old, textOf(a)) != contentOf(w.fresh, textOf(b))
}

// contentOf is a digest of what a file that a configuration names had in it; "": that is not known.
func contentOf(c *config.Config, path string) string {
	if path != "" && !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(c.File), path)
	}
	return c.Sources[path]
}

func same(a, b *yaml.Tree) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Same(b)
}

// keyOf is a member of a, or the default of one that b has.
func keyOf(a, b *yaml.Tree, name string) *yaml.Tree {
	if a != nil && a.Keys[name] != nil {
		return a.Keys[name]
	}
	if b == nil || b.Shape.Type != "mapping" {
		return nil
	}
	return b.Shape.Default(name)
}

func keysOf(a, b *yaml.Tree) []string {
	var x, y map[string]*yaml.Tree
	if a != nil {
		x = a.Keys
	}
	if b != nil {
		y = b.Keys
	}
	return slices.Sorted(keys(x, y))
}

func keys(a, b map[string]*yaml.Tree) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for name := range a {
			if !yield(name) {
				return
			}
		}
		for name := range b {
			if _, there := a[name]; !there && !yield(name) {
				return
			}
		}
	}
}

// naming are the keys that name an item, the first that it has.
var naming = []string{
	"id", "issuer", "issuer_pattern", "trust_domain", "preset", "address", "resource", "file", "dir", "cert", "url",
	"tenant", "path",
}

func named(t *yaml.Tree) map[string]*yaml.Tree {
	all := map[string]*yaml.Tree{}
	if t == nil {
		return all
	}
	for i, item := range t.List {
		name := ""
		for _, key := range naming {
			if item.Keys[key] != nil && name == "" {
				name = item.Keys[key].String()
			}
		}
		if name == "" {
			name = item.String()
		}
		if all[name] != nil {
			name = fmt.Sprintf("%s #%d", name, i)
		}
		all[name] = item
	}
	return all
}

func under(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func textOf(t *yaml.Tree) string {
	if t == nil {
		return ""
	}
	return t.Text
}

func wordsIn(t *yaml.Tree) (words []string) {
	switch {
	case t == nil:
	case t.Shape.Type == "list":
		for _, item := range t.List {
			if item.Shape.Type == "secret" { // each is spelled alike; its text is a digest
				words = append(words, "secret "+item.Text)
				continue
			}
			words = append(words, item.String())
		}
	default:
		words = []string{t.String()}
	}
	return words
}

var unprintable = regexp.MustCompile(`[^[:print:]]`)

// spelled is a value for people. That of a header field may be a credential, and so may the query of an address.
func spelled(path string, t *yaml.Tree) string {
	switch {
	case t == nil:
		return "none"
	case strings.Contains(path, "headers.") && t.Shape.Type != "list":
		sum := sha256.Sum256([]byte(t.String()))
		return "value " + hex.EncodeToString(sum[:4]) + "…"
	case strings.Contains(t.String(), "://"):
		return withoutQuery(t.String())
	}
	text := unprintable.ReplaceAllString(t.String(), "?")
	if len(text) > 100 {
		text = text[:100] + "…"
	}
	return text
}
