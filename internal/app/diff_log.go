package app

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/proxy"
)

// A logged is what an access line says of its request.
type logged struct {
	Log      string `json:"log"`
	Message  string `json:"msg"`
	Method   string `json:"method"`
	Host     string `json:"host"`
	Path     string `json:"path"`
	Issuer   string `json:"issuer"`
	Tenant   string `json:"tenant"`
	Entry    string `json:"entry"`
	ClientID string `json:"client_id"`
}

// longestLine bounds a line of a log.
const longestLine = 1 << 20

// Log judges the requests of an access log by both configurations, each with the entry of its token's permissions that
// decided then, and lists those that are decided otherwise. Lines that are no access lines are skipped.
func (d *Diff) Log(log io.Reader) (changes []Change, lines int, err error) {
	counts := map[string]*Change{}
	in := bufio.NewReaderSize(log, longestLine)
	for {
		text, err := nextLine(in)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, lines, err
		}
		var l logged
		if json.Unmarshal(text, &l) != nil || l.Log != "access" || l.Message != "request" || !strings.HasPrefix(l.Path, "/") {
			continue
		}
		lines++
		where := l.Host + l.Path
		p, as := l.probe(d)
		if before, after := d.old.allows(p, as), d.fresh.allows(p, as); before != after {
			key := fmt.Sprint(after, p.method, where, l.Entry, l.ClientID)
			if counts[key] == nil {
				c := &Change{Opens: after, Route: where, Methods: []string{p.method}, Holder: anonymous}
				if as.Permissions != nil {
					c.Holder = "client " + orElse(l.ClientID, "unknown")
				}
				if l.Tenant != "" {
					c.Tenants = []string{l.Tenant}
				}
				counts[key] = c
			}
			counts[key].Count++
		}
	}
	for _, c := range counts {
		changes = append(changes, *c)
	}
	slices.SortFunc(changes, func(a, b Change) int {
		return strings.Compare(a.order()+strings.Join(a.Methods, ""), b.order()+strings.Join(b.Methods, ""))
	})
	return changes, lines, nil
}

// probe asks again what was asked, as far as the line knows it.
func (l *logged) probe(d *Diff) (p *probe, as proxy.Bearer) {
	p = &probe{
		method: l.Method, url: "https://" + orElse(l.Host, "any.example") + l.Path,
		header: http.Header{},
	}
	var query []string
	for _, r := range slices.Concat(d.old.snap.config.Routes, d.fresh.snap.config.Routes) {
		switch {
		case l.Tenant == "":
		case r.Require.From == config.FromHeader:
			p.header[r.Require.Name] = []string{l.Tenant}
		case r.Require.From == config.FromQuery:
			query = append(query, r.Require.Name+"="+l.Tenant)
		}
	}
	if query = sorted(query); len(query) > 0 {
		p.url += "?" + strings.Join(query, "&")
	}
	if l.Issuer == "" && l.ClientID == "" {
		return p, as
	}
	as.Permissions = token.Permissions{}
	if i := strings.LastIndexByte(l.Entry, ' '); i >= 0 {
		entry := token.TenantPermission{Tenant: l.Entry[:i], AllowedActions: wordsOf(l.Entry[i+1:])}
		as.Permissions = append(as.Permissions, entry)
	}
	return p, as
}

// nextLine returns the next line; what is over the reader's room is dropped.
func nextLine(in *bufio.Reader) ([]byte, error) {
	line, more, err := in.ReadLine()
	for dropped := more; dropped && err == nil; {
		_, dropped, err = in.ReadLine()
	}
	if more {
		line = nil
	}
	return line, err
}
