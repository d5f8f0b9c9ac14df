package proxy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A claimField is a field of a route's that carries a claim: its name, and the place of its value in a grant.
type claimField struct {
	name  string
	index int
}

// claimFields are those of a route. Claims that several routes pass on in one way are encoded once for each token.
func (g *Gate) claimFields(r *config.Route) (all []claimField) {
	for _, h := range r.ClaimHeaders {
		i := slices.IndexFunc(g.claims, func(other config.ClaimHeader) bool {
			return other.Join == h.Join && slices.Equal(other.Claim, h.Claim)
		})
		if i < 0 {
			i, g.claims = len(g.claims), append(g.claims, h)
		}
		all = append(all, claimField{h.Header, i})
	}
	return all
}

// claimValues are a token's claims as fields carry them; "" is not sent.
func (g *Gate) claimValues(v *jose.Verified) ([]string, error) {
	if len(g.claims) == 0 {
		return nil, nil
	}
	values := make([]string, len(g.claims))
	for i, h := range g.claims {
		var err error
		if values[i], err = claimValue(v.Claim(h.Claim), h.Join); err != nil {
			return nil, refusal.Because(refusal.TokenIdentityRefused, "claim %s: %v", h.Claim, err)
		}
	}
	return values, nil
}

// claimValue encodes a claim: a text, a number or a boolean, or the words of a list of such. What is none of these, or
// empty, is left out. In a word the separator's own letters are percent-encoded, so that it decodes to what the token
// said.
func claimValue(v jose.Value, join string) (string, error) {
	word, ok := scalarText(v)
	switch {
	case ok:
		return claimWord(word, join)
	case v == "" || v[0] != '[':
		return "", nil
	case join == "":
		join = ","
	}
	var words []string
	for _, element := range v.Elements() {
		text, ok := scalarText(element)
		if !ok || text == "" {
			continue
		}
		text, err := claimWord(text, join)
		if err != nil {
			return "", err
		}
		words = append(words, text)
	}
	return strings.Join(words, join), nil
}

func scalarText(v jose.Value) (text string, ok bool) {
	switch {
	case v == "" || v == "null" || v[0] == '[' || v[0] == '{':
		return "", false
	case v[0] == '"':
		return v.Text()
	}
	return string(v), true
}

func claimWord(text, join string) (string, error) {
	if hasControl(text) {
		return "", fmt.Errorf("it holds a control character")
	}
	text = fieldValue(text)
	for i := range len(join) {
		if c := join[i : i+1]; strings.Contains(text, c) {
			text = strings.ReplaceAll(text, c, fmt.Sprintf("%%%02X", c[0]))
		}
	}
	return text, nil
}
