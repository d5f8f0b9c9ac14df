package console

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/jotgate/jotgate/internal/admin"
	"github.com/jotgate/jotgate/internal/revoke"
)

type revocationsView struct {
	On      bool
	Status  RevocationStatus
	Entries []revoke.Entry
	Search  string
	Next    string // the path of the next page
	Done    string // what was just done
	Kinds   []string
	Form    revocationForm
}

// A revocationForm is what the form for a new one begins with: a link can fill it in, and the operator sends it.
type revocationForm struct{ Kind, Issuer, Value, At string }

func (c *Console) revocations(r *http.Request, _ *session) (view, error) {
	query := r.URL.Query()
	v := revocationsView{
		On: c.Revocations != nil, Search: strings.TrimSpace(query.Get("search")), Kinds: []string{"token"},
		Form: revocationForm{query.Get("kind"), query.Get("issuer"), query.Get("value"), query.Get("at")},
	}
	for _, kind := range revoke.Kinds() {
		v.Kinds = append(v.Kinds, string(kind))
	}
	switch query.Get("done") {
	case "revoked":
		v.Done = "Revoked. It is durable and in force."
	case "undone":
		v.Done = "Undone. It is durable and in force."
	}
	if v.On {
		v.Status = c.RevocationStatus()
		if v.Form.Issuer == "" && len(v.Status.Issuers) > 0 {
			v.Form.Issuer = v.Status.Issuers[0]
		}
		more := false
		if v.Entries, more = c.Revocations.Search(v.Search, query.Get("after"), perPage); more {
			after := v.Entries[len(v.Entries)-1].ID
			v.Next = r.URL.Path + "?" + url.Values{"search": {v.Search}, "after": {after}}.Encode()
		}
	}
	return view{Template: "revocations", Title: "Revocations", Content: v}, nil
}

// revoke is the form for a new revocation.
func (c *Console) revoke(w http.ResponseWriter, r *http.Request, _ *session) error {
	if c.Revocations == nil {
		return failure{http.StatusNotImplemented, "Nothing can be revoked: set revocations.file, or share a store."}
	}
	f := r.PostForm
	at, err := admin.ParseTime(f.Get("at"))
	if err != nil {
		return err
	}
	one := admin.Revocation{
		Kind: f.Get("kind"), Issuer: strings.TrimSpace(f.Get("issuer")), Value: strings.TrimSpace(f.Get("value")),
		At: at.UnixMilli(),
	}
	if at.IsZero() {
		one.At = 0
		if one.Kind != "token" {
			one.At = c.Clock().UnixMilli()
		}
	}
	if err = one.Check(c.Clock()); err == nil {
		err = one.Apply(r.Context(), c.Revocations)
	}
	c.AuditRevocation(r, one, err)
	if err != nil {
		return err
	}
	http.Redirect(w, r, basePath+"revocations?done=revoked", http.StatusSeeOther)
	return nil
}

func (c *Console) undo(w http.ResponseWriter, r *http.Request, _ *session) error {
	if c.Revocations == nil {
		return failure{http.StatusNotImplemented, "Nothing can be revoked here, so there is nothing to undo."}
	}
	e, err := c.Revocations.Undo(r.Context(), r.PostForm.Get("id"))
	c.AuditRevocation(r, admin.Undone(e), err)
	if err != nil {
		return err
	}
	http.Redirect(w, r, basePath+"revocations?done=undone", http.StatusSeeOther)
	return nil
}

type inspectView struct {
	Request, Problem string
	Trace            *trace
	Revoke           string // the path of the form that revokes this token
}

func (c *Console) inspector(*http.Request, *session) (view, error) {
	return view{Template: "inspect", Title: "Inspect a token", Content: inspectView{}}, nil
}

// inspect explains a token. Neither the answer nor a log has it.
func (c *Console) inspect(w http.ResponseWriter, r *http.Request, s *session) error {
	v := inspectView{Request: strings.TrimSpace(r.PostForm.Get("request"))}
	compact := strings.TrimSpace(r.PostForm.Get("token"))
	for _, scheme := range []string{"bearer ", "dpop "} {
		if len(compact) > len(scheme) && strings.EqualFold(compact[:len(scheme)], scheme) {
			compact = strings.TrimSpace(compact[len(scheme):])
		}
	}
	var err error
	if compact == "" && v.Request == "" {
		v.Problem = "Paste a token, or name a request."
	} else {
		v.Trace, err = c.explain(admin.Question{Request: v.Request, Token: compact, Headers: http.Header{}})
	}
	if err != nil { // its text may hold what was pasted
		v.Trace, v.Request, v.Problem = nil, "", "This is no request. Write it like GET https://shop.example.com/orders/7."
	}
	v.Request, _, _ = strings.Cut(v.Request, "?")
	if t := v.Trace; t != nil && t.Token != nil && t.Token.ID != "" && !t.Unverified && c.Revocations != nil {
		v.Revoke = basePath + "revocations?" + url.Values{
			"kind": {"token"}, "issuer": {t.Token.Issuer}, "value": {t.Token.ID}, "at": {t.Token.Expiry},
		}.Encode() + "#new"
	}
	status := http.StatusOK
	if v.Problem != "" {
		status = http.StatusBadRequest
	}
	c.render(w, r, s, status, view{Template: "inspect", Title: "Inspect a token", Nav: "Inspect", Content: v})
	return nil
}
