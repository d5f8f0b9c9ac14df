package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/revoke"
	"github.com/jotgate/jotgate/internal/strictjson"
)

// RevocationsPath is where revocations are posted and listed; below it, by id, marks are undone.
const RevocationsPath = "/revocations"

// revocationBytes bounds the body of a revocation.
const revocationBytes = 16 << 10

// Revocations keeps what is revoked; what it returns nil for is durable and in force.
type Revocations interface {
	Revoke(ctx context.Context, t revoke.Token) error
	Mark(ctx context.Context, kind revoke.Kind, issuer, value string, notBefore time.Time) error
	Undo(ctx context.Context, id string) (revoke.Entry, error)
	Entries(after string, most int) (page []revoke.Entry, more bool)
	Search(text, after string, most int) (page []revoke.Entry, more bool)
}

// A Revocation is one token (kind "token": value is its jti, at its exp), or a not-before mark (another kind of
// [revoke.Kinds]: at is the moment before which tokens were issued that count no more).
type Revocation struct {
	Kind   string `json:"kind"`
	Issuer string `json:"issuer"`
	Value  string `json:"value"`
	At     int64  `json:"at"` // milliseconds since 1970
	Undone bool   `json:"-"`  // it is a mark that is taken back; for the audit log
}

// ParseRevocation reads a revocation strictly and checks that it is whole.
func ParseRevocation(body []byte) (Revocation, error) {
	var w Revocation
	err := strictjson.Document(body, func(r *strictjson.Reader, name string) (err error) {
		switch name {
		case "kind":
			w.Kind, err = r.String()
		case "issuer":
			w.Issuer, err = r.String()
		case "value":
			w.Value, err = r.String()
		case "at":
			w.At, err = r.Int64()
		default:
			err = r.Unknown(name)
		}
		return err
	})
	if err != nil {
		return w, err
	}
	return w, w.check()
}

// Check is nil if w is whole. The end of a token that is past would have the entry forgotten while the token lives:
// seconds were meant, most likely.
func (w *Revocation) Check(now time.Time) error {
	if err := w.check(); err != nil {
		return refusal.Because(refusal.BodyInvalid, "%v", err)
	}
	if w.Kind == "token" && w.At <= now.UnixMilli() {
		return refusal.Because(refusal.BodyInvalid, "at: is in the past; want the token's end in milliseconds since 1970")
	}
	return nil
}

func (w *Revocation) check() error {
	kind := revoke.Kind(w.Kind)
	switch {
	case w.Kind != "token" && !slices.Contains(revoke.Kinds(), kind):
		return fmt.Errorf("kind %q: want token or one of %v", w.Kind, revoke.Kinds())
	case w.Issuer == "":
		return fmt.Errorf("issuer is missing")
	case w.Value == "" && kind != revoke.Issuer:
		return fmt.Errorf("value is missing")
	case w.At <= 0:
		return fmt.Errorf("at: want milliseconds since 1970")
	}
	return nil
}

// Apply puts w into force.
func (w *Revocation) Apply(ctx context.Context, to Revocations) error {
	if w.Kind == "token" {
		return to.Revoke(ctx, revoke.Token{Issuer: w.Issuer, ID: w.Value, Expiry: w.At})
	}
	value := w.Value
	if revoke.Kind(w.Kind) == revoke.Issuer {
		value = ""
	}
	return to.Mark(ctx, revoke.Kind(w.Kind), w.Issuer, value, time.UnixMilli(w.At))
}

// postRevocation serves POST /revocations: 204 once the revocation is durable and in force.
func postRevocation(list Revocations, audit func(r *http.Request, w Revocation, err error)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		w, err := readRevocation(rw, r)
		if err == nil {
			err = w.Apply(r.Context(), list)
		}
		audit(r, w, err)
		if err != nil {
			x := request.From(rw)
			x.Refuse(err)
			return
		}
		rw.WriteHeader(http.StatusNoContent)
	}
}

func readRevocation(rw http.ResponseWriter, r *http.Request) (w Revocation, err error) {
	body, err := readJSON(rw, r, revocationBytes)
	if err != nil {
		return w, err
	}
	if w, err = ParseRevocation(body); err != nil {
		return w, refusal.Because(refusal.BodyInvalid, "%v", err)
	}
	return w, w.Check(time.Now())
}

// readJSON reads a body of at most so many bytes that says that it is JSON.
func readJSON(rw http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, refusal.Because(refusal.MediaUnsupported, "want application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, most))
	if err != nil {
		return nil, refusal.Because(refusal.BodyTooLarge, "want at most %d bytes", most)
	}
	return body, nil
}

// JSON is the body that asks for w.
func (w Revocation) JSON() ([]byte, error) { return json.Marshal(w) }
