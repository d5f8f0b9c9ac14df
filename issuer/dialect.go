package issuer

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

// A fault is a refusal with words that the client may read, and with what only some dialects tell. Neither text nor
// fields ever hold a credential, or a part of the request that could be one.
type fault struct {
	reason refusal.Reason
	text   string      // for the client; "": the fixed text of the reason
	detail string      // for the log
	fields []field     // user-token dialect: what is wrong with which member
	code   string      // access-token dialect: the errorCode, if it is not OTHER
	status int         // if it is not the reason's own
	header http.Header // further headers of the answer
}

func (f *fault) Error() string {
	if f.detail != "" {
		return string(f.reason) + ": " + f.detail
	}
	return string(f.reason) + ": " + f.text
}

// Unwrap lets refusal.Of and the access log find the reason.
func (f *fault) Unwrap() error {
	detail := f.detail
	if detail == "" {
		detail = f.text
	}
	return &refusal.Error{Reason: f.reason, Detail: detail}
}

// asFault makes a fault of any error. One that is no fault yet has nothing that the client may read.
func asFault(err error) *fault {
	f := new(fault)
	var known *fault
	var cause *refusal.Error
	switch {
	case errors.As(err, &known):
		*f = *known
	case errors.As(err, &cause):
		f.reason, f.detail = cause.Reason, cause.Detail
	default:
		f.reason, f.detail = refusal.InternalError, err.Error()
	}
	if f.text == "" {
		f.text = text(f.reason)
	}
	return f
}

// text is what a client reads of a reason. Reasons that the client has no business telling apart share a text.
func text(reason refusal.Reason) string {
	switch reason {
	case refusal.RouteNotFound:
		return "There is no such endpoint"
	case refusal.MethodNotAllowed:
		return "The endpoint does not have this method; the Allow header lists those it has"
	case refusal.MediaUnsupported:
		return "The body must be sent as Content-Type: application/json, without a content coding"
	case refusal.BodyTooLarge:
		return "The body is larger than this endpoint takes"
	case refusal.BodyMalformed:
		return "The body broke off"
	case refusal.BodyTimeout:
		return "The body did not arrive in time"
	case refusal.RateLimited:
		return "Too many requests; the Retry-After header says when to come again"
	case refusal.CredentialsMultiple:
		return "The request brings more than one credential; send exactly one"
	case refusal.TokenMissing, refusal.TokenSchemeUnsupported, refusal.TokenInQuery:
		return "A management token is needed, as Authorization: Bearer"
	case refusal.TokenNotManagement:
		return "The token is no management token"
	case refusal.ScopeMissing:
		return "The token's scope, or its client, does not allow this"
	case refusal.DelegateExceeded:
		return "This is more than the client may hand on"
	case refusal.SubjectReserved:
		return "The subject is the id of a client"
	case refusal.CodeUnknown, refusal.CodeOtherEpoch:
		return "Authorization request not found"
	case refusal.CodeMalformed, refusal.BodyInvalid:
		return "The body is not what this endpoint takes"
	case refusal.CodeExpired, refusal.CodeNotYetValid, refusal.CodeUsed, refusal.CodeBelowFloor, refusal.CodeRevoked,
		refusal.CodeClientGone, refusal.CodeRoleGone, refusal.CodeNotCovered:
		return "The authorization code is expired, was used before, or may no longer be redeemed"
	case refusal.StoreUnavailable:
		return "Whether the code was used before cannot be told now; it may be spent"
	case refusal.UserUnknown:
		return "There is no such user"
	case refusal.UserTypeRefused:
		return "Tokens are issued for end users only"
	case refusal.UserLookupFailed:
		return "The user directory did not answer in time"
	case refusal.RevocationOff:
		return "Nothing can be revoked without revocations.file"
	case refusal.GrantNotAllowed:
		return "The client may not use this grant"
	case refusal.ScopeUnknown:
		return "The scope has a word that the client may not have"
	case refusal.ProofNonce:
		return "The DPoP proof needs a nonce; the DPoP-Nonce header has one"
	case refusal.ProofMissing:
		return "The client must show its key: send a DPoP proof"
	case refusal.ProofMalformed, refusal.ProofMismatch, refusal.ProofKeyMismatch, refusal.ProofStale,
		refusal.ProofSignatureInvalid, refusal.ProofUsed:
		return "The DPoP proof is not accepted for this request"
	case refusal.TokenBound:
		return "The token is bound to a key; it is no plain bearer"
	case refusal.RevocationFull:
		return "The list of revocations is full; nothing was revoked"
	}
	switch reason.Status() {
	case http.StatusUnauthorized:
		return "The token is not accepted"
	case http.StatusServiceUnavailable:
		return "Not available now"
	}
	return internalError
}

const internalError = "Internal server error"

// A dialect says how a path's refusals look.
type dialect interface {
	// status is the HTTP status of a reason.
	status(reason refusal.Reason) int
	// body is the answer's body, for encoding/json.
	body(c *call, status int, f *fault) any
	// challenge is the WWW-Authenticate of a reason; "" if there is none, or if the dialect's callers expect none.
	challenge(x *request.Exchange, reason refusal.Reason) string
}

// refuse records the refusal and answers it in the dialect of the path. Refusals that come of a fault of ours, or of
// what stands behind us, are told to the operator as errors too.
func (c *call) refuse(err error) {
	f := asFault(err)
	c.x.Note(f.Unwrap())
	c.record("refused", f.reason)
	if f.reason == refusal.InternalError {
		c.issuer.log.Error("internal error", zap.String("endpoint", c.endpoint.Name),
			zap.String("request_id", c.x.ID), zap.String("cause", c.x.Detail))
	}
	h := c.x.Header()
	for name, values := range f.header {
		h[name] = values
	}
	c.private(h)
	if challenge := c.endpoint.dialect.challenge(c.x, f.reason); challenge != "" && f.status == 0 {
		h.Set("WWW-Authenticate", challenge)
	}
	if f.reason == refusal.BodyTooLarge || f.reason == refusal.BodyTimeout || f.reason == refusal.BodyMalformed {
		h.Set("Connection", "close") // what is left of the body is not worth reading
	}
	if _, ok := c.endpoint.dialect.(problems); ok {
		request.Problem(c.x, f.reason, c.x.ID)
		return
	}
	status := f.status
	if status == 0 {
		status = c.endpoint.dialect.status(f.reason)
	}
	if status == http.StatusServiceUnavailable && h.Get("Retry-After") == "" {
		h.Set("Retry-After", "1")
	}
	c.write(status, c.endpoint.dialect.body(c, status, f), nil)
}

// write sends the answer: raw, or body as JSON, or nothing.
func (c *call) write(status int, body any, raw []byte) {
	h := c.x.Header()
	switch body := body.(type) {
	case nil:
	case interface{ appendJSON(dst []byte) []byte }: // those that answer what is asked for all day are spared reflection
		raw = append(body.appendJSON(make([]byte, 0, 1<<10)), '\n')
	default:
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(body); err != nil { // the bodies are our own types, of strings and numbers
			panic(err)
		}
		raw = b.Bytes()
	}
	if raw != nil {
		h.Set("Content-Type", "application/json")
		h.Set("X-Content-Type-Options", "nosniff")
	}
	if status != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(raw)))
	}
	c.x.WriteHeader(status)
	if len(raw) > 0 {
		_, _ = c.x.Write(raw) // a client that is gone cannot be told
	}
}

// problems is how the endpoints outside the three dialects refuse: as the gate does (RFC 9457).
type problems struct{}

func (problems) status(r refusal.Reason) int                        { return r.Status() }
func (problems) body(*call, int, *fault) any                        { return nil }
func (problems) challenge(*request.Exchange, refusal.Reason) string { return "" }

// codes is the issuer dialect.
type codes struct{}

func (codes) status(r refusal.Reason) int                            { return r.Status() }
func (codes) challenge(x *request.Exchange, r refusal.Reason) string { return x.Challenge(r) }

// codeError is the issuer dialect's error. All members are always there; a stack never is.
type codeError struct {
	Name       string `json:"name"`
	Message    string `json:"message"`
	Code       int    `json:"code"`
	StatusCode int    `json:"statusCode"`
	HTTPCode   int    `json:"httpCode"`
	Method     string `json:"method"`
	Path       string `json:"path"`
}

func (codes) body(c *call, status int, f *fault) any {
	number, name := application(f.reason)
	return codeError{
		Name: name, Message: f.text, Code: number, StatusCode: status, HTTPCode: status,
		Method: c.r.Method, Path: c.r.URL.Path,
	}
}

// application is the issuer dialect's own number of a reason, and the name that goes with its status. The numbers
// never change their meaning; openapi.json lists them.
func application(reason refusal.Reason) (number int, name string) {
	switch reason {
	case refusal.BodyInvalid, refusal.BodyMalformed:
		return 10002, "BadRequestError"
	case refusal.CodeMalformed:
		return 10003, "BadRequestError"
	case refusal.CodeUnknown, refusal.CodeOtherEpoch:
		return 10004, "NotFoundError"
	case refusal.CodeExpired, refusal.CodeNotYetValid, refusal.CodeUsed, refusal.CodeBelowFloor, refusal.CodeRevoked,
		refusal.CodeClientGone, refusal.CodeRoleGone, refusal.CodeNotCovered:
		return 10005, "BadRequestError"
	case refusal.StoreUnavailable:
		return 10006, "ServiceUnavailableError"
	case refusal.CredentialsMultiple:
		return 10007, "BadRequestError"
	case refusal.TokenNotManagement, refusal.ScopeMissing:
		return 10009, "ForbiddenError"
	case refusal.DelegateExceeded:
		return 10010, "ForbiddenError"
	case refusal.SubjectReserved:
		return 10011, "BadRequestError"
	case refusal.CodeTooLong:
		return 10012, "BadRequestError"
	case refusal.MethodNotAllowed:
		return 10013, "MethodNotAllowedError"
	case refusal.BodyTimeout:
		return 10014, "RequestTimeoutError"
	case refusal.BodyTooLarge:
		return 10015, "PayloadTooLargeError"
	case refusal.MediaUnsupported:
		return 10016, "UnsupportedMediaTypeError"
	case refusal.RateLimited:
		return 10017, "TooManyRequestsError"
	}
	switch reason.Status() {
	case http.StatusUnauthorized:
		return 10008, "UnauthorizedError"
	case http.StatusServiceUnavailable:
		return 10018, "ServiceUnavailableError"
	}
	return 10001, "InternalServerError"
}

// userTokens is the user-token dialect.
type userTokens struct{}

func (userTokens) challenge(x *request.Exchange, r refusal.Reason) string { return x.Challenge(r) }

func (userTokens) status(r refusal.Reason) int {
	if r == refusal.BodyInvalid {
		return http.StatusUnprocessableEntity
	}
	return r.Status()
}

// A field says what is wrong with a member of the body.
type field struct {
	Loc  []string `json:"loc"`
	Msg  string   `json:"msg"`
	Type string   `json:"type"`
}

// userError is the user-token dialect's error. Members that do not apply are absent, never null.
type userError struct {
	Title     string `json:"title"`
	Detail    any    `json:"detail"` // a string, or of 422 a list of fields
	RequestID string `json:"request_id"`
	ErrorType string `json:"error_type,omitempty"`
	Resource  string `json:"resource,omitempty"`
}

func (userTokens) body(c *call, status int, f *fault) any {
	e := userError{Title: http.StatusText(status), Detail: f.text, RequestID: c.x.ID}
	switch {
	case status == http.StatusUnprocessableEntity:
		e.Detail = f.fields
	case f.reason == refusal.UserTypeRefused:
		e.ErrorType = "cannot_issue_token_for_user_type"
	case f.reason == refusal.UserUnknown:
		e.Resource = "user"
	}
	return e
}

// accessTokens is the access-token dialect.
type accessTokens struct{}

func (accessTokens) challenge(*request.Exchange, refusal.Reason) string { return "" }

func (accessTokens) status(r refusal.Reason) int {
	if s := r.Status(); s != http.StatusUnauthorized {
		return s
	}
	return http.StatusForbidden // the dialect has no 401
}

// The access-token dialect's errorCodes.
const (
	accessDenied = "ACCESS_DENIED"
	actionDenied = "ACTION_DENIED"
	noSuchToken  = "NO_SUCH_ACCESS_TOKEN_ID"
	otherError   = "OTHER"
)

type accessError struct {
	ErrorCode string `json:"errorCode,omitempty"`
	Message   string `json:"message"`
}

func (accessTokens) body(_ *call, status int, f *fault) any {
	if status == http.StatusInternalServerError {
		return accessError{Message: internalError}
	}
	e := accessError{ErrorCode: f.code, Message: f.text}
	if e.ErrorCode == "" {
		e.ErrorCode = otherError
	}
	return e
}
