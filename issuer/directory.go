package issuer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/singleflight"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
)

// A directory knows the users of the user-token dialect. find answers UserUnknown for a stranger and UserLookupFailed
// if it cannot tell in time; the id is a UUID in lower case.
type directory interface {
	find(ctx context.Context, id string) (*config.User, error)
	close()
}

func newDirectory(cfg *config.Config, state *State, clock func() time.Time) (directory, error) {
	switch u := cfg.Issuer.Users; {
	case u == nil:
		return listed{}, nil
	case u.Open != nil:
		return open{u.Open}, nil
	case u.Lookup != nil:
		return state.lookups.open(u.Lookup, cfg.TenantPattern, clock)
	default:
		return listed(u.List), nil
	}
}

// listed are the users of a list in the config.
type listed map[string]*config.User

func (l listed) find(_ context.Context, id string) (*config.User, error) {
	if u := l[id]; u != nil {
		return u, nil
	}
	return nil, refusal.Because(refusal.UserUnknown, "the list has no user %s", id)
}

func (listed) close() {}

// open takes any UUID for an end user with one role.
type open struct{ role *config.Role }

func (o open) find(_ context.Context, id string) (*config.User, error) {
	return &config.User{ID: id, Type: endUser, Permissions: o.role.Permissions}, nil
}

func (open) close() {}

// lookup asks a directory of the operator's, by HTTP:
//
//	GET <url, with {user_id} replaced>
//	Authorization: Bearer <if configured>
//
// 200 with {"type": "end_user", "permissions": [{"tenant": …, "allowedActions": […]}]} is a user, of one of the types
// of userTypes; 404 is none. Anything else is no answer. Answers, the 404 too, are believed for a short time; while one
// is on its way, the same user is not asked for again.
type lookup struct {
	settings *config.UserLookup
	tenants  *regexp.Regexp
	client   *http.Client
	clock    func() time.Time
	flights  singleflight.Group

	mu    sync.Mutex
	known *simplelru.LRU[string, found]
}

// lookups are the directories that are in use, by their settings: a reload that leaves these as they are keeps the
// answers and the connections.
type lookups struct {
	mu    sync.Mutex
	inUse map[lookupKey]*sharedLookup
}

type lookupKey struct {
	config.UserLookup
	tenants string
}

type sharedLookup struct {
	*lookup
	users int
}

func (all *lookups) open(settings *config.UserLookup, tenants *regexp.Regexp, clock func() time.Time) (directory,
	error,
) {
	all.mu.Lock()
	defer all.mu.Unlock()
	key := lookupKey{*settings, tenants.String()}
	in := all.inUse[key]
	if in == nil {
		l, err := newLookup(settings, tenants, clock)
		if err != nil {
			return nil, err
		}
		if all.inUse == nil {
			all.inUse = make(map[lookupKey]*sharedLookup)
		}
		in = &sharedLookup{lookup: l}
		all.inUse[key] = in
	}
	in.users++
	return &lease{in.lookup, sync.OnceFunc(func() { all.release(key) })}, nil
}

func (all *lookups) release(key lookupKey) {
	all.mu.Lock()
	defer all.mu.Unlock()
	in := all.inUse[key]
	if in.users--; in.users == 0 {
		delete(all.inUse, key)
		in.close()
	}
}

// A lease is one Issuer's use of a lookup.
type lease struct {
	*lookup
	end func()
}

func (l *lease) close() { l.end() }

// found is an answer; without a user, there is none.
type found struct {
	user *config.User
	at   time.Time
}

func newLookup(settings *config.UserLookup, tenants *regexp.Regexp, clock func() time.Time) (*lookup, error) {
	known, err := simplelru.NewLRU[string, found](max(1, settings.Entries), nil)
	if err != nil {
		return nil, fmt.Errorf("issuer: users.lookup: %w", err)
	}
	return &lookup{settings: settings, tenants: tenants, clock: clock, known: known, client: &http.Client{
		Transport: &http.Transport{ // no proxy of the environment's: the directory's bearer goes to the directory
			DialContext:            (&net.Dialer{Timeout: settings.Timeout}).DialContext,
			MaxIdleConnsPerHost:    16,
			MaxConnsPerHost:        64,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 16 << 10,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (l *lookup) close() { l.client.CloseIdleConnections() }

func (l *lookup) find(ctx context.Context, id string) (*config.User, error) {
	answer, ok := l.remembered(id)
	if !ok {
		// The flight has a deadline of its own, so that a caller who goes away does not fail those who wait with it.
		flight := l.flights.DoChan(id, func() (any, error) { return l.ask(context.WithoutCancel(ctx), id) })
		select {
		case r := <-flight:
			if r.Err != nil {
				return nil, r.Err
			}
			answer = r.Val.(found)
		case <-ctx.Done():
			return nil, refusal.Because(refusal.UserLookupFailed, "%v", ctx.Err())
		}
	}
	if answer.user == nil {
		return nil, refusal.Because(refusal.UserUnknown, "the directory has no user %s", id)
	}
	return answer.user, nil
}

func (l *lookup) remembered(id string) (found, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	answer, ok := l.known.Get(id)
	age := l.clock().Sub(answer.at)
	return answer, ok && 0 <= age && age < l.settings.Cache // a clock that was set back believes nothing
}

func (l *lookup) ask(ctx context.Context, id string) (found, error) {
	ctx, cancel := context.WithTimeout(ctx, l.settings.Timeout)
	defer cancel()
	user, err := l.get(ctx, id)
	if err != nil {
		return found{}, err
	}
	answer := found{user, l.clock()}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known.Add(id, answer)
	return answer, nil
}

func (l *lookup) get(ctx context.Context, id string) (*config.User, error) {
	url := strings.ReplaceAll(l.settings.URL, "{user_id}", id)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, refusal.Because(refusal.InternalError, "users.lookup.url is no URL")
	}
	request.Header.Set("Accept", "application/json")
	if b := l.settings.Bearer.Reveal(); b != "" {
		request.Header.Set("Authorization", "Bearer "+b)
	}
	response, err := l.client.Do(request)
	if err != nil {
		return nil, refusal.Because(refusal.UserLookupFailed, "%v", hideURL(err))
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, nil
	default:
		return nil, refusal.Because(refusal.InternalError, "the user directory answered %d", response.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, l.settings.Bytes+1))
	switch {
	case err != nil:
		return nil, refusal.Because(refusal.UserLookupFailed, "the user directory's answer broke off: %v", hideURL(err))
	case int64(len(data)) > l.settings.Bytes:
		return nil, refusal.Because(refusal.InternalError, "the user directory's answer has more than %d bytes",
			l.settings.Bytes)
	}
	user, err := l.read(data)
	if err != nil {
		return nil, refusal.Because(refusal.InternalError, "the user directory's answer: %v", err)
	}
	user.ID = id
	return user, nil
}

// hideURL leaves the URL out of an error, which may have a credential in it.
func hideURL(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// userTypes are the types of users that the dialect knows.
func userTypes() []string { return []string{endUser, "person", "api_user", "api_signer", "system"} }

func (l *lookup) read(data []byte) (*config.User, error) {
	user := new(config.User)
	err := strictjson.Document(data, func(r *strictjson.Reader, name string) (err error) {
		switch name {
		case "type":
			user.Type, err = r.String()
		case "permissions":
			user.Permissions, err = readPermissions(r, l.tenants, false)
		default:
			err = r.Unknown(name)
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case !slices.Contains(userTypes(), user.Type):
		return nil, errors.New("the type is missing, or none that we know")
	case user.Type == endUser && user.Permissions == nil:
		return nil, errors.New("the permissions are missing")
	}
	return user, nil
}
