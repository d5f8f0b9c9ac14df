package request

import (
	"html"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/jotgate/jotgate/internal/refusal"
)

// A person who opens a page and is refused sees a page: the status, one sentence and the request id, which finds the
// reason in the log. Nothing of the request is in it but that id, and nothing can run in it or frame it.

// Navigates reports whether the request is a browser's for a page to show, and not one of a script, of an image or of a
// tool: it prefers text/html to JSON, and where the browser says what it is for (Fetch Metadata), it is a navigation.
func Navigates(r *http.Request) bool {
	if said := r.Header["Sec-Fetch-Mode"]; len(said) > 0 && (len(said) > 1 || said[0] != "navigate") {
		return false
	}
	if said := r.Header["Sec-Fetch-Dest"]; len(said) > 0 && (len(said) > 1 || !slices.Contains(frames, said[0])) {
		return false
	}
	return prefersHTML(r.Header["Accept"])
}

// frames are where a page is shown, in the words of Sec-Fetch-Dest.
var frames = []string{"document", "iframe", "frame"}

// prefersHTML reads Accept (RFC 9110 §12.5.1): text/html is named, and has no lower weight than what a script asks for.
// A wildcard names nothing: tools send it.
func prefersHTML(accept []string) bool {
	page, data := 0.0, 0.0
	for _, field := range accept {
		for item := range strings.SplitSeq(field, ",") {
			kind, parameters, _ := strings.Cut(item, ";")
			switch strings.ToLower(strings.TrimSpace(kind)) {
			case "text/html":
				page = max(page, weight(parameters))
			case "application/json", "application/problem+json", "text/event-stream":
				data = max(data, weight(parameters))
			}
		}
	}
	return page > 0 && page >= data
}

// weight is the parameter q; 1 without one, 0 for one that is none.
func weight(parameters string) float64 {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(parameter, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}

// sentence says to a person what a status means for them.
func sentence(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return "You are not signed in, or your sign-in has ended."
	case status == http.StatusForbidden:
		return "You may not open this page."
	case status == http.StatusNotFound:
		return "There is no such page."
	case status == http.StatusMethodNotAllowed:
		return "This page cannot be used in this way."
	case status == http.StatusTooManyRequests:
		return "There were too many requests; please try again in a while."
	case status >= 500:
		return "The page is not available just now; please try again in a while."
	}
	return "Your browser sent a request that cannot be answered."
}

const pagePolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page is the document for a person, and the fields that go with it.
func page(h http.Header, reason refusal.Reason, title, requestID string) []byte {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Add("Vary", "Accept")
	status := strconv.Itoa(reason.Status())
	return []byte("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n" +
		"<meta name=\"viewport\" content=\"width=device-width\">\n<title>" + status + " " + title + "</title>\n<h1>" +
		status + " " + title + "</h1>\n<p>" + sentence(reason.Status()) + "</p>\n<p>Request id: <code>" +
		html.EscapeString(requestID) + "</code></p>\n</html>\n")
}

// SignIn sends a navigation to a page where a person gets a token, and records why.
func (x *Exchange) SignIn(err error, location string) {
	x.Note(err)
	h := x.Header()
	h["Location"] = []string{location}
	h["Cache-Control"] = []string{"no-store"}
	h["Content-Length"] = []string{"0"}
	h["Vary"] = append(h["Vary"], "Accept")
	x.WriteHeader(http.StatusFound)
}
