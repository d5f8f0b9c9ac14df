package console

import (
	"net/http"
	"slices"
)

type routesView struct {
	Routes  []Route
	Matrix  Matrix
	Holders []string // that can be chosen
	Chosen  string
}

// mostHolders are the columns of the matrix while none is chosen.
const mostHolders = 8

func (c *Console) routesPage(r *http.Request, _ *session) (view, error) {
	v := routesView{Routes: c.Routes(), Holders: c.Holders(), Chosen: r.URL.Query().Get("holder")}
	shown := v.Holders[:min(len(v.Holders), mostHolders)]
	if v.Chosen != "" {
		if !slices.Contains(v.Holders, v.Chosen) {
			return view{}, failure{http.StatusNotFound, "There is no such role, client, user or issuer."}
		}
		shown = []string{v.Chosen}
	}
	m, ok := c.Matrix(shown)
	if !ok {
		return view{}, failure{http.StatusConflict, "The configuration has just changed. Reload the page."}
	}
	v.Matrix = m
	return view{Template: "routes", Title: "Routes", Content: v}, nil
}

func (c *Console) issuers(*http.Request, *session) (view, error) {
	return view{Template: "issuers", Title: "Issuers and keys", Content: c.Issuers()}, nil
}

func (c *Console) upstreams(*http.Request, *session) (view, error) {
	return view{Template: "upstreams", Title: "Upstreams", Content: c.Upstreams()}, nil
}

func (c *Console) codes(*http.Request, *session) (view, error) {
	return view{Template: "codes", Title: "Codes and tickets", Content: c.Memories()}, nil
}

func (c *Console) config(*http.Request, *session) (view, error) {
	return view{Template: "config", Title: "Configuration", Content: c.Config()}, nil
}
