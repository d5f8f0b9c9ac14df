package admin

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/revoke"
)

// The entries on a page of GET /revocations, where limit does not say otherwise, and at most.
const (
	usualEntries = 100
	mostEntries  = 1000
)

// An entry is one revocation as it is listed. Of jti, subject, client, tenant, key and sid it has the one that it is
// about; a mark on an issuer has none.
type entry struct {
	ID      string     `json:"id"`
	Kind    string     `json:"kind"` // token or mark
	Issuer  string     `json:"issuer"`
	JTI     string     `json:"jti,omitempty"`
	Subject string     `json:"subject,omitempty"`
	Client  string     `json:"client,omitempty"`
	Tenant  string     `json:"tenant,omitempty"`
	Key     string     `json:"key,omitempty"`
	Session string     `json:"sid,omitempty"`
	Before  *time.Time `json:"before,omitempty"`  // of a mark: what was issued before counts no more
	Expires *time.Time `json:"expires,omitempty"` // of a token: its end
}

// Listing is the body of GET /revocations.
type Listing struct {
	Revocations []entry `json:"revocations"`
	Next        string  `json:"next,omitempty"` // the after of the next page; "": this is the last one
}

// List returns one page of a list, of what comes behind the entry after.
func List(list Revocations, after string, most int) Listing {
	page, more := list.Entries(after, most)
	l := Listing{Revocations: make([]entry, 0, len(page))}
	for _, e := range page {
		l.Revocations = append(l.Revocations, entryOf(e))
	}
	if more {
		l.Next = page[len(page)-1].ID
	}
	return l
}

func entryOf(e revoke.Entry) entry {
	at := time.UnixMilli(e.At).UTC()
	if e.Kind == "token" {
		return entry{ID: e.ID, Kind: e.Kind, Issuer: e.Issuer, JTI: e.Value, Expires: &at}
	}
	mark := entry{ID: e.ID, Kind: "mark", Issuer: e.Issuer, Before: &at}
	switch revoke.Kind(e.Kind) {
	case revoke.Session:
		mark.Session = e.Value
	case revoke.Subject, revoke.LoggedOut:
		mark.Subject = e.Value
	case revoke.Client:
		mark.Client = e.Value
	case revoke.Tenant:
		mark.Tenant = e.Value
	case revoke.KeyID:
		mark.Key = e.Value
	}
	return mark
}

// getRevocations serves GET /revocations?after=ID&limit=N.
func getRevocations(list Revocations) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		after, most, err := paging(r.URL.RawQuery)
		if err != nil {
			request.From(w).Refuse(err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(List(list, after, most)) // a client that is gone cannot be told
	}
}

func paging(query string) (after string, most int, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", 0, refusal.Because(refusal.BodyInvalid, "query: %v", err)
	}
	most = usualEntries
	for name, all := range values {
		switch {
		case len(all) != 1:
			return "", 0, refusal.Because(refusal.BodyInvalid, "query: %.30q is there more than once", name)
		case name == "after":
			after = all[0]
		case name == "limit":
			if most, err = strconv.Atoi(all[0]); err != nil || most < 1 || most > mostEntries {
				return "", 0, refusal.Because(refusal.BodyInvalid, "query: limit: want 1 to %d", mostEntries)
			}
		default:
			return "", 0, refusal.Because(refusal.BodyInvalid, "query: %.30q is not known; use after and limit", name)
		}
	}
	return after, most, nil
}

// deleteRevocation serves DELETE /revocations/ID: 204 once it is durable that the mark is undone.
func deleteRevocation(list Revocations, audit func(r *http.Request, w Revocation, err error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		e, err := list.Undo(r.Context(), r.URL.Path[len(RevocationsPath)+1:])
		audit(r, Undone(e), err)
		if err != nil {
			request.From(w).Refuse(err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// Undone is e as the audit log names what is undone.
func Undone(e revoke.Entry) Revocation {
	return Revocation{Kind: e.Kind, Issuer: e.Issuer, Value: e.Value, At: e.At, Undone: true}
}

// Event is the name of the audit event.
func (w *Revocation) Event() string {
	if w.Undone {
		return "undo"
	}
	return "withdraw"
}
