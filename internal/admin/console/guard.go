package console

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// harden sets what every answer has. The policy of the referrer is not no-referrer: with that one browsers send
// `Origin: null` with forms (Fetch §3.2).
func harden(h http.Header) {
	for name, value := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
			"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; " +
			"require-trusted-types-for 'script'; trusted-types 'none'",
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Referrer-Policy":              "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Cache-Control":                "no-store",
	} {
		h.Set(name, value)
	}
}

// byMethod answers another method than a path has with 405 and Allow (RFC 9110 §15.5.6). GET is HEAD too.
func (c *Console) byMethod(methods map[string]http.HandlerFunc) http.HandlerFunc {
	var allowed []string
	for method := range methods {
		if allowed = append(allowed, method); method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	return func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if handle := methods[method]; handle != nil {
			handle(w, r)
			return
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		c.fail(w, r, c.sessions.of(r), http.StatusMethodNotAllowed, "This path does not take that method.")
	}
}

// signedIn shows a page to who has signed in, and the way to do so to others.
func (c *Console) signedIn(name string, show page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s := c.sessions.of(r)
		switch {
		case s != nil:
		case r.URL.Path == overviewPath:
			c.showSignIn(w, r, http.StatusOK, "")
			return
		default:
			http.Redirect(w, r, overviewPath+"?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
			return
		}
		v, err := show(c, r, s)
		if err != nil {
			c.failWith(w, r, s, err)
			return
		}
		v.Nav = name
		c.render(w, r, s, http.StatusOK, v)
	}
}

// posted runs an action: for who has signed in, by a form of the console, in a browser that has it from the console.
func (c *Console) posted(do action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s := c.sessions.of(r)
		err := fromHere(r)
		if err == nil && s == nil {
			http.Redirect(w, r, overviewPath, http.StatusSeeOther)
			return
		}
		if err == nil {
			err = readForm(w, r)
		}
		if err == nil && !c.sessions.holds(s, r.PostForm.Get(csrfField)) {
			err = failure{http.StatusForbidden, "This form is not of your session. Go back, reload the page and try again."}
		}
		if err == nil {
			err = do(c, w, r, s)
		}
		if err != nil {
			c.failWith(w, r, s, err)
		}
	}
}

// A failure is an error with what a page says of it.
type failure struct {
	status int
	text   string
}

func (f failure) Error() string { return f.text }

// csrfField is the member of a form that shows which session it was made for.
const csrfField = "csrf"

// crossOrigin heeds Sec-Fetch-Site, or else Origin. A page of another port is another origin, though of the same site.
var crossOrigin = http.NewCrossOriginProtection()

// fromHere refuses a form that a page of another origin has sent.
func fromHere(r *http.Request) error {
	if err := crossOrigin.Check(r); err != nil {
		return failure{http.StatusForbidden, "A page of another origin has sent this form. Nothing was done."}
	}
	return nil
}

// formBytes bounds a form: the inspector's has a token and the headers of a request.
const formBytes = 64 << 10

// readForm reads a form strictly: each member once.
func readForm(w http.ResponseWriter, r *http.Request) error {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return failure{http.StatusUnsupportedMediaType, "Want application/x-www-form-urlencoded."}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, formBytes))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return failure{http.StatusRequestEntityTooLarge, "The form is too large."}
	case err != nil:
		return failure{http.StatusBadRequest, "The form cannot be read."}
	}
	if r.PostForm, err = url.ParseQuery(string(body)); err != nil {
		return failure{http.StatusBadRequest, "The form cannot be read."}
	}
	for _, values := range r.PostForm {
		if len(values) != 1 {
			return failure{http.StatusBadRequest, "The form has a member twice."}
		}
	}
	return nil
}
