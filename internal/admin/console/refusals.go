package console

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/jotgate/jotgate/internal/admin"
	"github.com/jotgate/jotgate/internal/refusal"
)

// perPage is how many entries a list shows at a time.
const perPage = 50

type refusalsView struct {
	Query   admin.RefusalQuery
	Since   string
	Until   string
	ID      string
	Page    admin.RefusalPage
	Older   string // the path of the next page; "": this is the last one
	Reasons []string
	Routes  []string
	Keeps   int
	Asked   bool
}

func (c *Console) refusals(r *http.Request, _ *session) (view, error) {
	query := r.URL.Query()
	if id := query.Get("id"); id != "" {
		return c.traceOf(id)
	}
	query.Del("id")
	q, err := admin.ParseRefusalQuery(query.Encode())
	if err != nil {
		return view{}, err
	}
	q.Limit = perPage
	v := refusalsView{
		Query: q, Since: formTime(q.Since), Until: formTime(q.Until), Page: c.Refusals(q), Keeps: c.Overview().Keeps,
		Asked: q != admin.RefusalQuery{Limit: perPage},
	}
	v.Reasons = slices.Sorted(slices.Values(c.Reasons()))
	for _, route := range c.Routes() {
		v.Routes = append(v.Routes, route.Name)
	}
	slices.Sort(v.Routes)
	v.Routes = slices.Compact(v.Routes)
	if v.Page.Next != "" {
		older := url.Values{}
		for name, values := range query {
			if values[0] != "" {
				older[name] = values
			}
		}
		older.Set("before", v.Page.Next)
		v.Older = basePath + "refusals?" + older.Encode()
	}
	return view{Template: "refusals", Title: "Refusals", Content: v}, nil
}

// formTime is a time as a form's field has it.
func formTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05")
}

func (c *Console) refusal(r *http.Request, _ *session) (view, error) {
	return c.traceOf(r.PathValue("id"))
}

type refusalView struct {
	trace
	Similar string // refusals for the same reason
}

func (c *Console) traceOf(id string) (view, error) {
	t, err := c.explain(admin.Question{RequestID: id})
	var of *refusal.Error
	switch {
	case errors.As(err, &of) && of.Reason == refusal.RouteNotFound:
		return view{}, failure{http.StatusNotFound, of.Detail}
	case err != nil:
		return view{}, err
	}
	v := refusalView{trace: *t, Similar: basePath + "refusals?" + url.Values{"reason": {t.Reason}}.Encode()}
	return view{Template: "refusal", Title: "Refusal " + t.Reason, Content: v}, nil
}

// explain asks, and reads the answer as one who asks admin does.
func (c *Console) explain(q admin.Question) (*trace, error) {
	answer, err := c.Explain(q)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	t := new(trace)
	return t, json.Unmarshal(data, t)
}
