package issuer

import (
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
)

const (
	endUser           = "end_user"
	defaultExpiration = 86400     // seconds
	longestExpiration = 315360000 // seconds, the API's own limit; max_token_ttl is ours
)

// A userTokenRequest is what POST /api/v1/authorization-tokens takes. All that is wrong with its members is told at
// once.
type userTokenRequest struct {
	userID     string // in lower case
	expiration *int64 // seconds
	limit      int64  // max_token_ttl in seconds
	client     *config.Client
	claims     []token.Custom
	faults     []field
	seen       map[string]bool
}

func (q *userTokenRequest) fault(name, kind, msg string) {
	loc := []string{"body"}
	if name != "" {
		loc = append(loc, name)
	}
	q.faults = append(q.faults, field{Loc: loc, Msg: msg, Type: kind})
}

// member reads one member of the body; an error is one of the JSON itself.
func (q *userTokenRequest) member(r *strictjson.Reader, name string) error {
	q.seen[name] = true
	switch name {
	case "user_type":
		return q.readText(r, name, func(s string) {
			if s != endUser {
				q.fault(name, "literal_error", `must be "end_user"`)
			}
		})
	case "user_id":
		return q.readText(r, name, func(s string) {
			id, err := uuid.Parse(s)
			if err != nil || len(s) != 36 {
				q.fault(name, "uuid_parsing", "must be a UUID")
			}
			q.userID = id.String()
		})
	case "expiration":
		return q.readExpiration(r)
	case "claims":
		return q.readClaims(r)
	}
	q.fault(speakable(name), "extra_forbidden", "there is no such member here")
	return r.Skip()
}

func (q *userTokenRequest) readText(r *strictjson.Reader, name string, check func(string)) error {
	if r.Kind() != strictjson.KindString {
		q.fault(name, "string_type", "must be a string")
		return r.Skip()
	}
	s, err := r.String()
	if err == nil {
		check(s)
	}
	return err
}

// readClaims reads the custom claims. What is wrong with one of them is told as a fault of the member.
func (q *userTokenRequest) readClaims(r *strictjson.Reader) error {
	text, err := r.Raw()
	if err != nil {
		return err
	}
	if q.claims, err = readCustom(strictjson.NewString(text), q.client); err != nil {
		q.fault("claims", "value_error", "must be an object of claims that the client may carry: "+readable(err))
	}
	return nil
}

func (q *userTokenRequest) readExpiration(r *strictjson.Reader) error {
	if r.Kind() != strictjson.KindNumber {
		q.fault("expiration", "int_type", "must be a whole number of seconds")
		return r.Skip()
	}
	spelled, err := r.Number()
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(spelled, 10, 64)
	switch {
	case err != nil:
		q.fault("expiration", "int_parsing", "must be a whole number of seconds")
	case n < 1:
		q.fault("expiration", "greater_than_equal", "must be at least 1 second")
	case n > longestExpiration:
		q.fault("expiration", "less_than_equal", "must be at most 315360000 seconds")
	case n > q.limit:
		q.fault("expiration", "less_than_equal", "must be at most "+strconv.FormatInt(q.limit, 10)+
			" seconds, which is max_token_ttl here")
	}
	q.expiration = &n
	return nil
}

func (c *call) readUserTokenRequest(client *config.Client) (*userTokenRequest, error) {
	q := &userTokenRequest{
		client: client, seen: make(map[string]bool),
		limit: int64(c.issuer.settings.MaxTokenTTL / time.Second),
	}
	if err := c.json(q.member); err != nil {
		if refusal.Of(err) != refusal.BodyInvalid {
			return nil, err
		}
		q.faults = []field{{Loc: []string{"body"}, Msg: "must be one JSON object, each member once", Type: "json_invalid"}}
		return nil, &fault{reason: refusal.BodyInvalid, fields: q.faults, detail: "not one strict JSON object"}
	}
	for _, name := range []string{"user_type", "user_id"} {
		if !q.seen[name] {
			q.fault(name, "missing", "must be there")
		}
	}
	if len(q.faults) > 0 {
		return nil, &fault{reason: refusal.BodyInvalid, fields: q.faults, detail: q.faults[0].Type}
	}
	if q.expiration == nil {
		seconds := min(defaultExpiration, q.limit)
		q.expiration = &seconds
	}
	return q, nil
}

type userTokenAnswer struct {
	ID          string `json:"id"`
	CreatedAt   string `json:"created_at"`
	ModifiedAt  string `json:"modified_at"`
	UserID      string `json:"user_id"`
	ExpiredAt   string `json:"expired_at"`
	UserType    string `json:"user_type"`
	AccessToken string `json:"access_token"`
}

// stamp is how the dialect writes times: in UTC, with microseconds.
const stamp = "2006-01-02T15:04:05.000000Z"

// issueUserToken gives a calling service a token for one of the operator's end users: with the user's permissions, cut
// to what the service may hand on.
func (c *call) issueUserToken() (*answer, error) {
	client, err := c.manager()
	if err != nil {
		return nil, err
	}
	q, err := c.readUserTokenRequest(client)
	if err != nil {
		return nil, err
	}
	c.event.Subject = q.userID
	user, err := c.issuer.users.find(c.r.Context(), q.userID)
	if err != nil {
		return nil, err
	}
	if user.Type != endUser {
		return nil, refusal.Because(refusal.UserTypeRefused, "the user is of type %q", user.Type)
	}
	if err := c.issuer.clients.subjectFault("user_id", q.userID); err != nil {
		return nil, err
	}
	return c.userToken(client, user, q)
}

func (c *call) userToken(client *config.Client, user *config.User, q *userTokenRequest) (*answer, error) {
	created := c.now.UTC()
	ttl := time.Duration(*q.expiration) * time.Second
	claims, err := c.issuer.minter.claims(client, q.userID, ttl)
	if err != nil {
		return nil, err
	}
	claims.IssuedAt, claims.Expiry = created.Unix()*1000, created.Add(ttl).Unix()*1000
	claims.Permissions = append(token.Permissions{}, user.Permissions.Cut(client.Delegate)...)
	claims.Custom = q.claims
	c.event.TokenID, c.event.TTL = claims.ID, ttl
	compact, _, err := c.issuer.minter.mint(c.r.Context(), claims)
	if refusal.Of(err) == refusal.TokenTooLarge { // not the caller's fault: the directory gave the permissions
		return nil, refusal.Because(refusal.InternalError, "user %s: %v", q.userID, err)
	}
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, body: userTokenAnswer{
		ID: claims.ID, CreatedAt: created.Format(stamp), ModifiedAt: created.Format(stamp), UserID: q.userID,
		ExpiredAt: created.Add(ttl).Format(stamp), UserType: endUser, AccessToken: compact,
	}}, nil
}
