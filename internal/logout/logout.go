// Package logout serves OpenID Connect Back-Channel Logout 1.0 for trusted issuers: an issuer posts a signed logout
// token when a session ends there (§2.5), and what it says becomes a not-before mark, by which tokens of the session,
// or of the subject, are refused from the next request on.
//
// A logout token is judged strictly (§2.6): signed by a key of its issuer, of typ logout+jwt or none, for one of the
// issuer's logout_audiences, made within two minutes, with the one event and without a nonce, and used once. The mark
// is at the moment of receipt, and durable before the answer. A logout token from before what is remembered begins may
// have been used then: its mark is at its own iat, so that a replay ends nothing that its first use did not.
package logout

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/revoke"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
)

// event is the one member of events (§2.4).
const event = "http://schemas.openid.net/event/backchannel-logout"

// maxAge bounds how long ago a logout token was made, and with it how long its jti is remembered.
const maxAge = 2 * time.Minute

// Longest is the longest time from when a logout token is made until it is refused for its age, by a clock that is up
// to the most leeway apart; see replay.NewOnce.
const Longest = maxAge + jose.MaxLeeway

// Marks keeps what was logged out. It returns nil when the mark is durable and in force.
type Marks interface {
	LogOut(ctx context.Context, kind revoke.Kind, issuer, value string, notBefore time.Time) error
}

// A Guard lets a logout token be used once, for all replicas; see replay.Once.
type Guard interface {
	Consume(ctx context.Context, u replay.Use, made int64) error
}

// Options are what an endpoint is made of. All but Guard are required.
type Options struct {
	Config   *config.Config
	Verifier *jose.Verifier // of logout tokens; see keysets.LogoutVerifier
	Marks    Marks
	Guard    Guard // nil: State remembers, for this process
	State    *State
	Clock    func() time.Time
	Audit    func(Event)
}

// An Event is a logout, or the refusal of one, for the audit. It holds no credential.
type Event struct {
	Outcome                                  string // done, or refused
	Reason                                   refusal.Reason
	Issuer, Subject, Session, TokenID, Cause string
	RequestID, Remote                        string
}

// An Endpoint answers POST /oauth2/backchannel-logout for one config. It is safe for concurrent use.
type Endpoint struct {
	Options
	issuers map[string]*config.TrustedIssuer
}

// New returns nil where no issuer has logout_audiences.
func New(o Options) *Endpoint {
	e := &Endpoint{Options: o, issuers: map[string]*config.TrustedIssuer{}}
	for _, t := range o.Config.TrustedIssuers {
		if len(t.LogoutAudiences) > 0 {
			e.issuers[t.Issuer] = t
		}
	}
	if len(e.issuers) == 0 {
		return nil
	}
	return e
}

// ServeHTTP answers 200 once the mark is durable, and otherwise as §2.8 says: 400 with an error. What is no fault of
// the token is 429 or 503, so that the issuer may send it again.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := request.From(w)
	x.Route, x.Pattern = "backchannel_logout", endpoint.BackchannelLogout
	h := x.Header()
	h.Set(request.RequestIDHeader, x.ID)
	h.Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost {
		h.Set("Allow", http.MethodPost)
		x.Refuse(refusal.Because(refusal.MethodNotAllowed, "%.32q, want POST", r.Method))
		return
	}
	said := Event{Outcome: "done", RequestID: x.ID}
	if x.Client.IsValid() {
		said.Remote = x.Client.String()
	}
	err := e.logOut(x, r, &said)
	if err != nil {
		said.Outcome, said.Reason, said.Cause = "refused", refusal.Of(err), err.Error()
	}
	e.Audit(said)
	if err != nil {
		refuse(x, err)
		return
	}
	h.Set("Content-Length", "0")
	x.WriteHeader(http.StatusOK)
}

// refuse answers with a problem document that has the members of RFC 6749 §5.2 as well.
func refuse(x *request.Exchange, err error) {
	reason := x.Note(err)
	status := reason.Status()
	if status == http.StatusUnauthorized { // what is wrong with a token: there is no authentication here
		status = http.StatusBadRequest
	}
	code, text := "invalid_request", "The logout token was refused"
	if status >= 500 || status == http.StatusTooManyRequests {
		code, text = "temporarily_unavailable", "The logout could not be done now; try again"
		if x.Header().Get("Retry-After") == "" {
			x.Header().Set("Retry-After", "1")
		}
	}
	body := []byte(`{"type":"about:blank","title":"` + http.StatusText(status) + `","status":` + strconv.Itoa(status) +
		`,"error":"` + code + `","error_description":"` + text + `","request_id":`)
	body = append(strictjson.AppendString(body, x.ID), "}\n"...)
	h := x.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	x.WriteHeader(status)
	_, _ = x.Write(body) // a client that is gone cannot be told
}

// logOut does what a request asks for. An address that sends too much that is refused is refused for a while; what an
// issuer has signed counts against that issuer instead, so that others cannot use up its turns.
func (e *Endpoint) logOut(x *request.Exchange, r *http.Request, said *Event) error {
	received, rate := e.Clock(), e.Config.Limits.LogoutRate
	address := "address " + network(x.Client)
	if err := e.State.peek(address, rate, received); err != nil {
		return err
	}
	v, err := e.judged(x, r, received)
	first := false
	if err == nil {
		t := &v.Claims
		said.Issuer, said.Subject, said.Session, said.TokenID = t.Issuer, t.Subject, t.Session, t.ID
		x.Issuer, x.Subject, x.TokenID = t.Issuer, t.Subject, t.ID
		first, err = e.once(r.Context(), v, received)
	}
	if errors.Is(err, errElsewhere) {
		// Its mark may be missing: that replica had no turn or no store for it, or its answer was lost. A replay is refused
		// all the same, and ends nothing that the first use did not.
		if lost := e.mark(r.Context(), &v.Claims, v.Claims.IssuedAt+1); lost != nil {
			err = lost
		}
	}
	if err != nil {
		if refusal.Of(err).Status() < 500 {
			_ = e.State.take(address, rate, received)
		}
		return err
	}
	// After the token was used, or a replay could use up the turns of its issuer.
	if err := e.State.take("issuer "+v.Claims.Issuer, rate, received); err != nil {
		e.State.pending(useOf(v), first, received)
		return err
	}
	// iat is in whole seconds, and what was issued in the same second ends. The issuer's clock may be ahead of ours, and
	// so the times of its tokens, too.
	at := v.Claims.IssuedAt + 1
	if first {
		at = max(at, received.UnixMilli())
	}
	if err := e.mark(r.Context(), &v.Claims, at); err != nil {
		e.State.pending(useOf(v), first, received)
		return err
	}
	return nil
}

// mark ends what was issued before a moment, in ms, in the session that a logout token names, or for its subject.
func (e *Endpoint) mark(ctx context.Context, t *token.Claims, at int64) error {
	if t.Session != "" {
		return e.Marks.LogOut(ctx, revoke.Session, t.Issuer, t.Session, time.UnixMilli(at))
	}
	return e.Marks.LogOut(ctx, revoke.LoggedOut, t.Issuer, t.Subject, time.UnixMilli(at))
}

// judged is the logout token of a request, after every check but that it is used once (§2.6).
func (e *Endpoint) judged(x *request.Exchange, r *http.Request, now time.Time) (*jose.Verified, error) {
	compact, err := e.posted(x, r)
	if err != nil {
		return nil, err
	}
	return e.Verifier.Verify(compact, now, func(v *jose.Verified) error { return e.meant(v, now) })
}

func refused(format string, args ...any) error {
	return refusal.Because(refusal.LogoutRefused, format, args...)
}

func (e *Endpoint) meant(v *jose.Verified, now time.Time) error {
	t, issuer := &v.Claims, e.issuers[v.Issuer.URL]
	events, nonce, sid := v.Retained[0], v.Retained[1], v.Retained[2]
	switch {
	case issuer == nil:
		return refused("issuer %s has no logout_audiences", v.Issuer.URL)
	case !slices.ContainsFunc(t.Audience, func(a string) bool { return slices.Contains(issuer.LogoutAudiences, a) }):
		return refused("aud %.100q is not one of logout_audiences", t.Audience)
	case now.Sub(time.UnixMilli(t.IssuedAt)) > maxAge:
		return refused("iat is older than %v", maxAge)
	case !isLogout(events):
		return refused("events is not {%q: {}}", event)
	case nonce != "":
		return refused("has a nonce")
	case t.ID == "":
		return refused("no jti")
	case sid != "" && t.Session == "":
		return refused("sid is no text")
	case t.Subject == "" && t.Session == "":
		return refused("neither sub nor sid")
	}
	return nil
}

// isLogout reports whether events has the one member, and that is an object.
func isLogout(events jose.Value) bool {
	if events == "" || events[0] != '{' {
		return false
	}
	r, members, ok := strictjson.NewString(string(events)), 0, false
	err := r.Object(func(name string) error {
		members++
		ok = name == event && r.Kind() == strictjson.KindObject
		return r.Skip()
	})
	return err == nil && ok && members == 1
}

func useOf(v *jose.Verified) replay.Use {
	sum := sha256.Sum256([]byte(v.Claims.Issuer + "\x00" + v.Claims.ID))
	return replay.Use{
		Client: v.Claims.Issuer, Nonce: [24]byte(sum[:24]), Expiry: v.Claims.IssuedAt + maxAge.Milliseconds() + 1000,
	}
}

// errElsewhere refuses a token that this process has not seen, and that the shared store knows.
var errElsewhere = refusal.Because(refusal.LogoutUsed, "at another replica, or without an answer")

// once uses the token, and reports whether this is sure to be the first time. What was made before the memory of the
// process, or of the store, begins may have been used then, by a process that has ended; refusing it would lose the
// logout of an honest issuer around a restart. Each process takes it once. One whose mark could not be made may come
// again.
func (e *Endpoint) once(ctx context.Context, v *jose.Verified, now time.Time) (first bool, err error) {
	use := useOf(v)
	if first, pending := e.State.resume(use, now); pending {
		return first, nil
	}
	err = cmp.Or[Guard](e.Guard, e.State).Consume(ctx, use, v.Claims.IssuedAt)
	switch refusal.Of(err) {
	case "":
		if first = true; e.Guard == nil {
			return first, nil
		}
		err = e.State.used.Consume(ctx, use) // it may have come before the store could tell
	case refusal.CodeBelowFloor, refusal.CodeNotYetValid:
		err = e.State.used.Consume(ctx, use)
	case refusal.CodeUsed:
		if e.Guard != nil && e.State.used.Consume(ctx, use) == nil {
			return false, errElsewhere
		}
	}
	switch refusal.Of(err) {
	case "", refusal.StoreUnavailable:
		return first, err
	}
	return false, refusal.Because(refusal.LogoutUsed, "%v", err)
}

// posted is the logout_token of a form (§2.5).
func (e *Endpoint) posted(x *request.Exchange, r *http.Request) (string, error) {
	types := r.Header["Content-Type"]
	if len(types) != 1 || !isForm(types[0]) || len(r.Header["Content-Encoding"]) > 0 {
		return "", refused("Content-Type is not application/x-www-form-urlencoded")
	}
	data, err := e.body(x, r)
	if err != nil {
		return "", err
	}
	form, err := url.ParseQuery(string(data))
	if err != nil || len(form["logout_token"]) != 1 || form.Get("logout_token") == "" {
		return "", refused("the form has not one logout_token")
	}
	return form.Get("logout_token"), nil
}

// body reads a body within limits.token_body_bytes and limits.body_timeout.
func (e *Endpoint) body(x *request.Exchange, r *http.Request) ([]byte, error) {
	limit := e.Config.Limits.TokenBodyBytes
	// The deadline is the connection's own, so it is the wall clock's.
	control := http.NewResponseController(x)
	_ = control.SetReadDeadline(time.Now().Add(e.Config.Limits.BodyTimeout))
	data, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	var known *refusal.Error
	var timeout net.Error
	switch {
	case err == nil && int64(len(data)) > limit:
		return nil, refusal.Because(refusal.BodyTooLarge, "more than %d bytes", limit)
	case err == nil:
		_ = control.SetReadDeadline(time.Time{})
		return data, nil
	case errors.As(err, &known):
	case errors.As(err, &timeout) && timeout.Timeout():
		known = &refusal.Error{Reason: refusal.BodyTimeout}
	case r.Context().Err() != nil:
		known = &refusal.Error{Reason: refusal.ClientClosed}
	default:
		known = &refusal.Error{Reason: refusal.BodyMalformed, Detail: err.Error()}
	}
	x.BodyError = err
	return nil, known
}
