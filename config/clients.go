package config

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/jose"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
	"github.com/jotgate/jotgate/internal/token"
)

func (b *builder) buildClients(w []yaml.Setting[writtenClient]) {
	b.Issuer.Clients, b.clients = []*Client{}, newClientIndex()
	for i := range w {
		c := &w[i].Value
		client := &Client{
			ID:            c.id.Value,
			Secret:        c.secret.Value,
			AccessTokenID: c.accessTokenID.Value,
			Permissions:   b.permissions(c.permissions.Value, noTemplates),
			May:           yaml.Values(c.may),
			Delegate:      b.permissions(c.delegate.Value, noTemplates),
			CodeTTL:       c.codeTTL.Value,
			Public:        c.public.Value,
			Bound:         c.dpop.Value == dpopRequired,
		}
		if !c.codeTTL.Given {
			client.CodeTTL = b.Issuer.CodeTTL
		}
		if c.audiences.Given {
			client.Audiences = yaml.Values(c.audiences.Value)
		}
		b.customClaims(c, client)
		if c.keys.Given {
			client.Keys = b.clientKeys(c.keys.Value)
		}
		client.Identity = b.workload(c.identity)
		b.buildCertificate(&c.tlsClientAuth, c, client)
		b.checkSecrets(c, client)
		b.checkUnique(c, client)
		b.Issuer.Clients = append(b.Issuer.Clients, client)
		if slices.Contains(client.May, token.IssueCodes) && c.delegate.Usable() == c.delegate.Given &&
			len(client.Delegate) == 0 {
			b.Warn(
				w[i].At,
				"may issue codes, but has no permissions to grant",
				"add delegate: it is the upper bound of what its codes open",
			)
		}
	}
}

// mostCustomClaims bounds the custom claims of one client.
const mostCustomClaims = 16

// customClaims reads the names of a client's custom claims. A code has two bytes for each, so no two may share them.
func (b *builder) customClaims(c *writtenClient, client *Client) {
	if !c.claims.Usable() {
		return
	}
	if n := len(c.claims.Value); n > mostCustomClaims {
		b.Fault(c.claims.At, fmt.Sprintf("lists %d claims, the limit is %d", n, mostCustomClaims), "list fewer")
	}
	seen := map[token.ClaimDigest]string{}
	for _, name := range c.claims.Value {
		if name.Bad {
			continue
		}
		digest := token.ClaimDigestOf(name.Value)
		if other, taken := seen[digest]; taken && other != name.Value {
			b.Fault(name.At, name.Shown+" has the same digest as "+yaml.Quote(other)+", so codes cannot tell the two apart",
				"rename one of them")
		}
		seen[digest] = name.Value
		client.Claims = append(client.Claims, name.Value)
	}
	carries := func(word string) bool { return slices.Contains(client.May, word) }
	if !carries(token.IssueCodes) && !carries(token.IssueUserTokens) && !carries(token.Exchange) {
		b.Warn(c.claims.At, "has no effect: the client makes no token that could carry them",
			"add issue_codes, issue_user_tokens or exchange to may, or remove it")
	}
}

func (b *builder) checkSecrets(c *writtenClient, client *Client) {
	if c.secret.Given && c.secretSHA256.Given {
		b.Fault(c.secretSHA256.At, "conflicts with secret", "set only one of the two")
	}
	if c.secretSHA256.Usable() {
		client.SecretSHA256, _ = hex.DecodeString(c.secretSHA256.Value) // checked when it was read
	}
	if c.public.Value && (c.secret.Given || c.secretSHA256.Given || c.keys.Given || c.identity.Given) {
		b.Fault(
			c.public.At,
			"conflicts with secret, secret_sha256, keys and identity",
			"remove them or public: a public client has no credentials",
		)
	}
}

// clientKeys are what a client signs its assertions with. A shared secret is no such key: it is for secret alone.
func (b *builder) clientKeys(w []yaml.Setting[writtenKeySet]) *jose.KeySet {
	set := b.keySet(w)
	if set == nil {
		return nil
	}
	if slices.ContainsFunc(set.Keys(), (*jose.PublicKey).Symmetric) {
		b.Fault(w[0].At, "holds a symmetric key", "list only public keys; set a shared secret in secret")
	}
	return set
}

// A clientIndex finds the clients that were read already: a file may have ten thousand.
type clientIndex struct {
	ids, accessTokenIDs map[string]int
	digests             map[token.Digest]int
	folded              map[string]struct{} // ids in lower case
}

func newClientIndex() clientIndex {
	return clientIndex{map[string]int{}, map[string]int{}, map[token.Digest]int{}, map[string]struct{}{}}
}

func (b *builder) checkUnique(c *writtenClient, client *Client) {
	known, next := &b.clients, len(b.Issuer.Clients)
	if c.id.Usable() {
		digest := token.DigestOf(client.ID)
		if i, taken := known.ids[client.ID]; taken {
			b.Fault(
				c.id.At,
				fmt.Sprintf("%s is the id of issuer.clients[%d]", c.id.Shown, i),
				"give each client its own id",
			)
		} else if i, taken := known.digests[digest]; taken {
			b.Fault(
				c.id.At,
				fmt.Sprintf(
					"%s has the same digest as the id of issuer.clients[%d], so codes cannot tell the two apart",
					c.id.Shown,
					i,
				),
				"rename one of them",
			)
		}
		known.ids[client.ID], known.digests[digest], known.folded[strings.ToLower(client.ID)] = next, next, struct{}{}
	}
	if c.accessTokenID.Usable() {
		if i, taken := known.accessTokenIDs[string(client.AccessTokenID)]; taken {
			b.Fault(
				c.accessTokenID.At,
				fmt.Sprintf("is the access_token_id of issuer.clients[%d]", i),
				"give each client its own: it is a credential",
			)
		}
		known.accessTokenIDs[string(client.AccessTokenID)] = next
	}
}

// isClient reports whether some client has this id, in whatever case: an id must not look like another.
func (b *builder) isClient(id string) bool {
	_, is := b.clients.folded[strings.ToLower(id)]
	return is
}
