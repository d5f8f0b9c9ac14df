package console

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The events of the audit log, and what came of them.
const (
	eventSignIn  = "console_sign_in"
	eventSignOut = "console_sign_out"
	done         = "done"
	refused      = "refused"
	limited      = "limited"
)

// signIn takes the admin token.
func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	err := fromHere(r)
	if err == nil {
		err = readForm(w, r)
	}
	if err != nil {
		c.Audit(r, eventSignIn, refused)
		c.failWith(w, r, nil, err)
		return
	}
	if !c.sessions.holdsSignIn(r.PostForm.Get(csrfField)) {
		c.Audit(r, eventSignIn, refused)
		c.showSignIn(w, r, http.StatusForbidden, "This form was too old. Please try again.")
		return
	}
	from := peer(r)
	right := same(r.PostForm.Get("token"), c.Token())
	if wait := c.attempts.begin(from, right); wait > 0 {
		c.Audit(r, eventSignIn, limited)
		seconds := int((wait + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		c.showSignIn(w, r, http.StatusTooManyRequests,
			"Too many attempts. Wait "+strconv.Itoa(seconds)+" s and try again.")
		return
	}
	if !right {
		c.Audit(r, eventSignIn, refused)
		w.Header().Set("WWW-Authenticate", "Bearer")
		c.showSignIn(w, r, http.StatusUnauthorized, "That is not the admin token.")
		return
	}
	setCookie(w, r, c.sessions.begin())
	c.Audit(r, eventSignIn, done)
	http.Redirect(w, r, following(r.PostForm.Get("next")), http.StatusSeeOther)
}

// same compares digests, so that the time taken does not tell the token's length either.
func same(given, want string) bool {
	g, w := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(g[:], w[:]) == 1 && want != ""
}

func peer(r *http.Request) netip.Addr {
	at, _ := netip.ParseAddrPort(r.RemoteAddr) // of a listener that has no addresses it is the zero one
	return at.Addr()
}

// following is where a sign-in leads: to a page of the console, whatever a link says.
func following(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, basePath) ||
		strings.ContainsAny(next, "\\\r\n") || strings.Contains(u.Path, "//") || strings.Contains(u.Path, "..") {
		return overviewPath
	}
	return u.RequestURI()
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request, s *session) error {
	c.sessions.end(s)
	setCookie(w, r, "")
	c.Audit(r, eventSignOut, done)
	http.Redirect(w, r, overviewPath, http.StatusSeeOther)
	return nil
}

type signInView struct{ CSRF, Next, Problem string }

func (c *Console) showSignIn(w http.ResponseWriter, r *http.Request, status int, problem string) {
	next := r.URL.Query().Get("next")
	if r.Method == http.MethodPost {
		next = r.PostForm.Get("next")
	}
	if next = following(next); next == overviewPath {
		next = ""
	}
	c.render(w, r, nil, status, view{
		Template: "signin", Title: "Sign in",
		Content: signInView{CSRF: c.sessions.signInForm(), Next: next, Problem: problem},
	})
}
