package admin

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

// RefusalsPath is where recent refusals are listed.
const RefusalsPath = "/refusals"

// A RefusalQuery asks for recent refusals. What is "" or zero is not asked about.
type RefusalQuery struct {
	Reason, Route, Tenant, Subject string
	Since, Until                   time.Time // until is excluded
	Before                         string    // request id of a refusal: only older ones
	Limit                          int
}

// A Refusal is a request that was refused, without its trace.
type Refusal struct {
	RequestID string         `json:"request_id"`
	At        time.Time      `json:"at"`
	Status    int            `json:"status"`
	Reason    refusal.Reason `json:"reason"`
	Detail    string         `json:"detail,omitempty"`
	Client    string         `json:"client,omitempty"`
	Route     string         `json:"route,omitempty"`
	Tenant    string         `json:"tenant,omitempty"`
	Issuer    string         `json:"issuer,omitempty"`
	Subject   string         `json:"subject,omitempty"`
	ClientID  string         `json:"client_id,omitempty"`
	TokenID   string         `json:"jti,omitempty"`
	Request   struct {
		Method string `json:"method"`
		Host   string `json:"host"`
		Path   string `json:"path"`
	} `json:"request"`
}

// RefusalPage is the body of GET /refusals: the latest first.
type RefusalPage struct {
	Refusals []Refusal `json:"refusals"`
	Next     string    `json:"next,omitempty"` // the before of the next page; "": this is the last one
}

// getRefusals serves GET /refusals?reason=&route=&tenant=&subject=&since=&until=&before=ID&limit=N.
func getRefusals(list func(RefusalQuery) RefusalPage) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, err := ParseRefusalQuery(r.URL.RawQuery)
		if err != nil {
			request.From(w).Refuse(err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(list(q)) // a client that is gone cannot be told
	}
}

// ParseRefusalQuery reads a query strictly; a member without a value is not asked about.
func ParseRefusalQuery(query string) (q RefusalQuery, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return q, refusal.Because(refusal.BodyInvalid, "query: %v", err)
	}
	q.Limit = usualEntries
	for name, all := range values {
		value := all[0]
		switch {
		case len(all) != 1:
			return q, refusal.Because(refusal.BodyInvalid, "query: %.30q is there more than once", name)
		case name == "reason":
			q.Reason = value
		case name == "route":
			q.Route = value
		case name == "tenant":
			q.Tenant = value
		case name == "subject":
			q.Subject = value
		case name == "before":
			q.Before = value
		case name == "since":
			q.Since, err = ParseTime(value)
		case name == "until":
			q.Until, err = ParseTime(value)
		case name == "limit":
			if q.Limit, err = strconv.Atoi(value); err != nil || q.Limit < 1 || q.Limit > mostEntries {
				return q, refusal.Because(refusal.BodyInvalid, "query: limit: want 1 to %d", mostEntries)
			}
		default:
			return q, refusal.Because(refusal.BodyInvalid,
				"query: %.30q is not known; use reason, route, tenant, subject, since, until, before and limit", name)
		}
		if err != nil {
			return q, refusal.Because(refusal.BodyInvalid, "query: %s: %v", name, err)
		}
	}
	return q, nil
}

// ParseTime reads a time as RFC 3339 has it, or as a browser's form sends it, which is taken as UTC; "" is the zero
// time.
func ParseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, refusal.Because(refusal.BodyInvalid, "want a time such as 2006-01-02T15:04:05Z")
}
