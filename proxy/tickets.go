package proxy

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/jotgate/jotgate/internal/dpop"
	"github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/route"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/ticket"
	"github.com/jotgate/jotgate/internal/token"
)

// ServeTickets answers POST /api/v1/tickets: it judges the request that the body names as if it came now, with the
// Authorization of this one, and seals a ticket for it.
func (g *Gate) ServeTickets(x *request.Exchange, r *http.Request) {
	x.Route, x.Pattern = "tickets", endpoint.Tickets
	x.Header()[request.RequestIDHeader] = []string{x.ID}
	if r.Method != http.MethodPost {
		x.Header().Set("Allow", http.MethodPost)
		x.Refuse(&refusal.Error{Reason: refusal.MethodNotAllowed})
		return
	}
	drawn, err := g.draw(x, r)
	if err != nil {
		x.Refuse(err)
		return
	}
	x.Ticket = request.TicketIssued
	body := strictjson.AppendString([]byte(`{"ticket":`), drawn.ticket)
	body = strictjson.AppendString(append(body, `,"url":`...), drawn.url)
	body = strconv.AppendInt(append(body, `,"expires_in":`...), drawn.seconds, 10)
	body = append(body, "}\n"...)
	h := x.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	x.WriteHeader(http.StatusCreated)
	_, _ = x.Write(body) // a client that is gone cannot be told
}

type drawn struct {
	ticket, url string
	seconds     int64
}

// A wish is the body of a request for a ticket.
type wish struct {
	method string
	prefix string // scheme and authority, as the client wrote them; "": none
	host   string // canonical
	target string // raw
	life   time.Duration
}

func bodyInvalid(format string, args ...any) error {
	return refusal.Because(refusal.BodyInvalid, format, args...)
}

// draw makes the ticket.
func (g *Gate) draw(x *request.Exchange, r *http.Request) (*drawn, error) {
	w, err := g.readWish(x, r)
	if err != nil {
		return nil, err
	}
	outer := &inbound{x: x, r: r, now: g.clock()}
	// The answer's fields, such as Retry-After or DPoP-Nonce, are those of this request.
	inner := &request.Exchange{
		ResponseWriter: x, ID: x.ID, Start: x.Start, Peer: x.Peer, Client: x.Client, Trusted: x.Trusted, Scheme: x.Scheme,
		Host: w.host, Listener: x.Listener,
	}
	if err := inner.Target.Parse(w.target); err != nil {
		return nil, err
	}
	t := &inner.Target
	if hasTicket(t.Query) {
		return nil, bodyInvalid("request: its query has a member ticket")
	}
	if t.HasQuery = t.Query != ""; !t.HasQuery {
		w.target = t.Path
	}
	asked := &http.Request{
		Method: w.method, URL: &url.URL{RawPath: t.Path, RawQuery: t.Query}, RequestURI: w.target, Host: w.host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: r.RemoteAddr, Header: http.Header{},
		TLS: r.TLS, // with the certificate of the client that draws it
	}
	if asked.URL.Path, err = url.PathUnescape(t.Path); err != nil {
		return nil, bodyInvalid("request: %v", err)
	}
	for _, name := range [...]string{"Authorization", "Cookie", dpop.Header} {
		if values := r.Header[name]; len(values) > 0 {
			asked.Header[name] = values
		}
	}
	p := &inbound{x: inner, r: asked.WithContext(r.Context()), now: outer.now, drawer: outer}
	err = g.judgeDrawing(p)
	x.Issuer, x.Subject, x.ClientID, x.TokenID = inner.Issuer, inner.Subject, inner.ClientID, inner.TokenID
	x.Tenant, x.DPoP, x.ResourceMetadata, x.Scopes = inner.Tenant, inner.DPoP, inner.ResourceMetadata, inner.Scopes
	if err != nil {
		return nil, err
	}
	return g.sealFor(p, w)
}

// judgeDrawing judges the request that the ticket is for by its route's steps. What a shadow would let through is
// refused: a ticket stands for a token that is good.
func (g *Gate) judgeDrawing(p *inbound) error {
	if q := p.drawer.x.Target; q.HasQuery && hasAccessToken(q.Query) {
		if len(p.r.Header["Authorization"]) > 0 {
			return refusal.Because(refusal.CredentialsMultiple, "Authorization beside access_token in the query")
		}
		return &refusal.Error{Reason: refusal.TokenInQuery}
	}
	if err := p.try(g, &g.choosing); err != nil {
		return err
	}
	switch {
	case p.plan.pool == nil:
		return refusal.Because(refusal.RouteNotFound, "route %s has upstream: none", p.plan.route.Name)
	case p.plan.route.Public:
		return bodyInvalid("request: route %s is public, it takes no ticket", p.plan.route.Name)
	}
	if err := g.walk(p); err != nil {
		return err
	}
	if !p.plan.route.TakesTickets() {
		return bodyInvalid("request: route %s takes no ticket", p.plan.route.Name)
	}
	return nil
}

// sealFor seals a ticket for a request that was let through.
func (g *Gate) sealFor(p *inbound, w *wish) (*drawn, error) {
	v := p.entry.verified
	typ, payload, err := g.verifier.Contents(p.token)
	if err != nil {
		return nil, err
	}
	if v.Issuer.Own && p.decider > 0 && !p.plan.route.Require.Global {
		// What decides for this tenant, as an entry of its own: an entry for "*" alone would decide for others, too.
		entry := token.TenantPermission{
			Tenant: p.tenant, AllowedActions: p.grant.permissions[p.decider-1].AllowedActions,
		}
		if payload, err = narrowed(payload, entry); err != nil {
			return nil, err
		}
	}
	now := g.clock().UnixMilli()
	c := &ticket.Content{
		Request: p.bound().Digest(), Made: now, Expiry: min(now+w.life.Milliseconds(), v.Claims.Expiry),
		Tenant: p.tenant, Type: typ, KeyID: v.KeyID, Claims: payload,
		Named: v.Keys != nil && v.Keys.Key(v.KeyID) != nil,
	}
	if c.Expiry <= now {
		return nil, &refusal.Error{Reason: refusal.TokenExpired}
	}
	sealed, err := g.tickets.Sealer.Seal(c)
	if errors.Is(err, ticket.ErrTooLong) {
		return nil, bodyInvalid("%v of %d characters", err, ticket.MaxLength)
	}
	if err != nil {
		return nil, fault("%v", err)
	}
	mark := "?"
	if p.x.Target.HasQuery {
		mark = "&"
	}
	target := w.target + mark + ticketMember + "=" + sealed
	if len(target) > g.limits.URIBytes {
		return nil, bodyInvalid("request: with its ticket it has %d bytes, limits.uri_bytes is %d", len(target),
			g.limits.URIBytes)
	}
	return &drawn{ticket: sealed, url: w.prefix + target, seconds: (c.Expiry - now) / 1000}, nil
}

// narrowed is a payload of ours with one entry for its permissions.
func narrowed(payload string, entry token.TenantPermission) (string, error) {
	var claims map[string]json.RawMessage
	if err := json.Unmarshal([]byte(payload), &claims); err != nil {
		return "", fault("the payload of a verified token: %v", err)
	}
	list, err := json.Marshal(token.Permissions{entry})
	if err != nil {
		return "", fault("%v", err)
	}
	claims["tenantPermissions"] = list
	text, err := json.Marshal(claims)
	if err != nil {
		return "", fault("%v", err)
	}
	return string(text), nil
}

// readWish reads the body: {"request": "GET /path?query", "expires_in": 30}.
func (g *Gate) readWish(x *request.Exchange, r *http.Request) (*wish, error) {
	data, err := g.readTicketBody(x, r)
	if err != nil {
		return nil, err
	}
	asked, seconds := "", int64(g.tickets.TTL/time.Second)
	err = strictjson.Document(data, func(r *strictjson.Reader, name string) (err error) {
		switch name {
		case "request":
			asked, err = r.String()
		case "expires_in":
			seconds, err = r.Int64()
		default:
			err = r.Unknown(name)
		}
		return err
	})
	switch most := int64(g.tickets.TTL / time.Second); {
	case err != nil:
		return nil, bodyInvalid("the body is not what this endpoint takes")
	case seconds < 1 || seconds > most:
		return nil, bodyInvalid("expires_in is %d, it must be from 1 to %d (tickets.ttl)", seconds, most)
	}
	w := &wish{host: x.Host, life: time.Duration(seconds) * time.Second}
	var ok bool
	w.method, w.target, ok = strings.Cut(asked, " ")
	if !ok || !httpguts.ValidHeaderFieldName(w.method) {
		return nil, bodyInvalid("request: write it like GET /path?query")
	}
	if strings.HasPrefix(w.target, "/") {
		return w, nil
	}
	for _, scheme := range [...]string{"https://", "http://"} {
		rest, ok := strings.CutPrefix(w.target, scheme)
		if !ok {
			continue
		}
		end := strings.IndexAny(rest, "/?#")
		if end < 0 || rest[end] != '/' {
			return nil, bodyInvalid("request: a URL needs a path")
		}
		if w.host, err = route.CanonicalHost(rest[:end]); err != nil {
			return nil, err
		}
		w.prefix, w.target = scheme+rest[:end], rest[end:]
		return w, nil
	}
	return nil, bodyInvalid("request: the target is neither a path nor a URL")
}

// readTicketBody reads the body within limits.token_body_bytes and limits.body_timeout.
func (g *Gate) readTicketBody(x *request.Exchange, r *http.Request) ([]byte, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" || len(r.Header["Content-Type"]) != 1 ||
		len(r.Header["Content-Encoding"]) > 0 {
		return nil, refusal.Because(refusal.MediaUnsupported, "Content-Type is not application/json")
	}
	limit := g.limits.TokenBodyBytes
	if r.ContentLength > limit {
		return nil, refusal.Because(refusal.BodyTooLarge, "%d bytes, at most %d", r.ContentLength, limit)
	}
	// The deadline is the connection's own, so it is the wall clock's. A writer without one has the body in memory.
	control := http.NewResponseController(x)
	_ = control.SetReadDeadline(time.Now().Add(g.limits.BodyTimeout))
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
