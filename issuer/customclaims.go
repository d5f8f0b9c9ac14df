package issuer

import (
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
)

// The bounds of custom claims: of a text, of a text in a list, of a list, of an integer that every reader of JSON keeps
// (RFC 8259 §6), and of all claims of one token together, names included.
const (
	longestCustom  = 256
	longestListed  = 64
	mostListed     = 16
	mostInteger    = 1<<53 - 1
	mostCustomJSON = 1024
)

// readCustom reads the member claims of a request: an object whose names are in claims of the client's entry. They come
// in the entry's order.
func readCustom(r *strictjson.Reader, client *config.Client) ([]token.Custom, error) {
	given, total := map[string]string{}, 0
	err := r.Object(func(name string) error {
		if !slices.Contains(client.Claims, name) {
			return r.Fault("a name that is not in claims of client %s", client.ID)
		}
		value, err := customValue(r)
		given[name], total = value, total+len(name)+len(value)
		return err
	})
	if err == nil && total > mostCustomJSON {
		err = r.Fault("the claims have %d bytes, at most %d are taken", total, mostCustomJSON)
	}
	return inOrder(client, given), err
}

func inOrder(client *config.Client, given map[string]string) (list []token.Custom) {
	for _, name := range client.Claims {
		if value, there := given[name]; there {
			list = append(list, token.Custom{Name: name, Value: value})
		}
	}
	return list
}

// customValue reads a value and returns it in the one way in which we write it.
func customValue(r *strictjson.Reader) (string, error) {
	switch r.Kind() {
	case strictjson.KindString:
		s, err := customText(r, longestCustom)
		return string(strictjson.AppendString(nil, s)), err
	case strictjson.KindBool:
		is, err := r.Bool()
		return strconv.FormatBool(is), err
	case strictjson.KindNumber:
		n, err := r.Int64()
		if err == nil && (n > mostInteger || n < -mostInteger) {
			err = r.Fault("want an integer from -%d to %d", mostInteger, mostInteger)
		}
		return strconv.FormatInt(n, 10), err
	case strictjson.KindArray:
		list, n := []byte{'['}, 0
		err := r.Array(func() error {
			if n++; n > mostListed {
				return r.Fault("want at most %d members", mostListed)
			}
			s, err := customText(r, longestListed)
			if n > 1 {
				list = append(list, ',')
			}
			list = strictjson.AppendString(list, s)
			return err
		})
		return string(append(list, ']')), err
	}
	return "", r.Fault("want a string, a boolean, an integer or a list of strings")
}

func customText(r *strictjson.Reader, most int) (string, error) {
	s, err := r.String()
	if err == nil && (len(s) > most || strings.ContainsFunc(s, unicode.IsControl)) {
		err = r.Fault("want at most %d bytes, without control characters", most)
	}
	return s, err
}

// carried are the custom claims that the client may carry from a verified token into one that is made from it: those
// that it has, in a form that we write, and that the request's parameter claims names, if it names any.
func (c *call) carried(p params, compact string, client *config.Client) ([]token.Custom, error) {
	names := client.Claims
	if asked := p.one("claims"); asked != "" {
		names = strings.Split(asked, " ")
		for _, name := range names {
			if !slices.Contains(client.Claims, name) {
				return nil, bad("claims has a name that is not in claims of client %s", client.ID)
			}
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	values, err := c.issuer.verifier.ClaimsOf(compact, names...)
	if err != nil {
		return nil, err
	}
	given, total := map[string]string{}, 0
	for i, name := range names {
		if values[i] == "" {
			continue
		}
		value, err := customValue(strictjson.NewString(string(values[i])))
		if err != nil {
			continue // a shape that we do not write is left out: that narrows
		}
		if total += len(name) + len(value); total > mostCustomJSON {
			return nil, notExchanged("its custom claims are too long")
		}
		given[name] = value
	}
	return inOrder(client, given), nil
}
