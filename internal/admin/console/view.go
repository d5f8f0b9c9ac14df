package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/template"
)

//go:embed assets
var files embed.FS

// A view is a page's content with the name of its template.
type view struct {
	Template, Title, Nav string
	Content              any

	// What the frame shows; render fills it in.
	CSRF     string
	Pages    []link
	Now      time.Time
	Version  string
	NotReady string
	SignedIn bool
}

type link struct {
	Path, Name string
	Here       bool
}

// A template of each page, together with the frame that all have.
var templates = parse("overview", "refusals", "refusal", "routes", "issuers", "upstreams", "codes", "revocations",
	"config", "inspect", "signin", "failure")

func parse(names ...string) map[string]*template.Template {
	all := make(map[string]*template.Template, len(names))
	for _, name := range names {
		page, err := template.Page(functions, source("frame"), source("parts"), source(name))
		if err != nil {
			panic(err) // they are embedded, and every test parses them
		}
		all[name] = page
	}
	return all
}

func source(name string) string {
	text, err := files.ReadFile("assets/" + name + ".html")
	if err != nil {
		panic(err) // it is embedded
	}
	return string(text)
}

// Times are shown in UTC, to the second, and durations in the two units that matter.
var functions = template.Funcs{
	"time": func(t time.Time) string {
		if t.IsZero() {
			return "–"
		}
		return t.UTC().Format("2006-01-02 15:04:05")
	},
	"ms":     func(ms int64) time.Time { return time.UnixMilli(ms) },
	"iso":    func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"never":  time.Time.IsZero,
	"since":  time.Time.Sub,
	"later":  time.Time.Add,
	"left":   TrustedIssuer.left,
	"age":    brief,
	"number": func(n any) string { return grouped(fmt.Sprint(n)) },
	"join":   func(list []string) string { return strings.Join(list, ", ") },
	"list": func(list []string, otherwise string) string {
		if len(list) == 0 {
			return otherwise
		}
		return strings.Join(list, ", ")
	},
	"percent": func(part, whole int) string {
		if whole == 0 {
			return "–"
		}
		return strconv.FormatFloat(100*float64(part)/float64(whole), 'f', 1, 64) + " %"
	},
	"decides": func(deciding *int, i int) bool { return deciding != nil && *deciding == i },
}

// brief tells a duration in one or two units.
func brief(d time.Duration) string {
	switch {
	case d < 0:
		return "−" + brief(-max(d, -math.MaxInt64)) // the least duration has no opposite
	case d < time.Millisecond:
		return strconv.FormatFloat(float64(d)/1e3, 'g', 3, 64) + " µs"
	case d < time.Second:
		return strconv.FormatFloat(float64(d)/1e6, 'g', 3, 64) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'g', 3, 64) + " s"
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// number groups digits by thin spaces.
func number[T int | uint64 | int64](n T) string {
	return grouped(strconv.FormatInt(int64(n), 10))
}

func grouped(digits string) string {
	var b strings.Builder
	for i, c := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 && c != '-' && digits[i-1] != '-' {
			b.WriteRune('\u202f')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// render writes a page whole, or the failure to make one.
func (c *Console) render(w http.ResponseWriter, r *http.Request, s *session, status int, v view) {
	v.Now = c.Clock()
	if s != nil {
		o := c.Overview()
		v.SignedIn, v.CSRF, v.Version, v.NotReady = true, c.sessions.form(s), o.Version, o.NotReady
		for _, p := range pages {
			if !p.hidden {
				v.Pages = append(v.Pages, link{p.path, p.name, p.name == v.Nav})
			}
		}
	}
	var body bytes.Buffer
	if err := templates[v.Template].Execute(&body, v); err != nil {
		request.Problem(w, refusal.InternalError, request.NewID())
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body.Bytes()) // a client that is gone cannot be told
	}
}

type failureView struct {
	Status   int
	Text, ID string
}

func (c *Console) fail(w http.ResponseWriter, r *http.Request, s *session, status int, text string) {
	id := request.NewID()
	w.Header().Set(request.RequestIDHeader, id)
	c.render(w, r, s, status, view{
		Template: "failure", Title: http.StatusText(status), Content: failureView{status, text, id},
	})
}

// failWith shows what went wrong. The operator may read the detail of a refusal.
func (c *Console) failWith(w http.ResponseWriter, r *http.Request, s *session, err error) {
	var f failure
	var of *refusal.Error
	switch {
	case errors.As(err, &f):
		c.fail(w, r, s, f.status, f.text)
	case errors.As(err, &of):
		c.fail(w, r, s, of.Reason.Status(), of.Detail)
	default:
		c.fail(w, r, s, http.StatusInternalServerError, "This did not work; the log has the cause.")
	}
}

// An asset is a file that pages refer to.
type asset struct {
	data       []byte
	kind, etag string
}

var assets = map[string]asset{
	"console.css": load("console.css", "text/css; charset=utf-8"),
	"console.js":  load("console.js", "text/javascript; charset=utf-8"),
	"icon.svg":    load("icon.svg", "image/svg+xml"),
}

func load(name, kind string) asset {
	data, err := files.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	sum := sha256.Sum256(data)
	return asset{data, kind, `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
}

// serve needs no session: the sign-in page has the stylesheet too, and nothing here is about this gate.
func (a asset) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "no-cache") // kept, and asked for again: a new release has new ones
	h.Set("ETag", a.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.data))
}
