//go:build linux

package main

import (
	"cmp"
	"fmt"
	"html"
	"slices"
	"strings"
)

// A bar is one line of the picture: CPU time per request, in proportion to plain nginx in the same round.
type bar struct {
	label string
	Spread
	ours bool
}

// bars are what the cached and the missed case have to show, the cheapest first.
func (r *Results) bars() []bar {
	labels := map[string]map[string]string{
		"cached": {
			nginxName: "nginx, checks nothing", haproxyName: "HAProxy, checks nothing",
			gateName: "Jotgate, token known, access log on",
		},
		"missed": {},
	}
	for _, alg := range algorithms() {
		labels["missed"]["haproxy "+alg] = "HAProxy, " + alg
		labels["missed"][gateName+" "+alg] = "Jotgate, " + alg + ", token new"
	}
	var all []bar
	for _, c := range r.Cases {
		base := c.figure(nginxName)
		for _, f := range c.Figures {
			label := labels[c.Name][f.Name]
			if label == "" || base == nil {
				continue
			}
			all = append(all, bar{label, paired(f.Samples, base.Samples), strings.HasPrefix(f.Name, gateName)})
		}
	}
	slices.SortStableFunc(all, func(a, b bar) int { return cmp.Compare(a.Median, b.Median) })
	return all
}

// picture draws the bars, with the quartiles as a line. Its colours stand on white and on black.
func (r *Results) picture(bars []bar) string {
	const (
		width, left, right = 760, 270, 60
		top, step, thick   = 46, 28, 18
	)
	widest := 0.0
	for _, b := range bars {
		widest = max(widest, b.High, b.Median)
	}
	scale := (width - left - right) / max(widest, 1e-9)
	height := top + step*len(bars) + 34
	title := "CPU time per request, × plain nginx"
	var w strings.Builder
	fmt.Fprintf(&w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" `+
		`aria-label="%s" font-family="system-ui, sans-serif" font-size="13" fill="#7d8590">`+"\n",
		width, height, width, height, title)
	fmt.Fprintf(&w, `<text x="%d" y="22" font-size="15" font-weight="600">%s</text>`+"\n", left, title)
	for i, b := range bars {
		y := top + i*step
		colour := "#8c959f"
		if b.ours {
			colour = "#2f81f7"
		}
		fmt.Fprintf(&w, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-10, y+thick-4,
			html.EscapeString(b.label))
		fmt.Fprintf(&w, `<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>`+"\n", left, y, b.Median*scale,
			thick, colour)
		fmt.Fprintf(&w, `<path d="M%.1f %dH%.1f" stroke="#d29922" stroke-width="2"/>`+"\n", left+b.Low*scale, y+thick/2,
			left+b.High*scale)
		fmt.Fprintf(&w, `<text x="%.1f" y="%d" font-weight="600">%s</text>`+"\n", left+max(b.Median, b.High)*scale+8,
			y+thick-4, digits(b.Median))
	}
	note := fmt.Sprintf("GET 1 KB, %d connections, %d tokens, one core; less is better; %s", r.Conditions.Connections,
		r.Conditions.Tokens, r.Date.Format("2006-01-02"))
	if r.Quick {
		note = "a smoke test: these figures mean nothing"
	}
	fmt.Fprintf(&w, `<text x="%d" y="%d" font-size="11">%s</text>`+"\n</svg>\n", left, height-10, html.EscapeString(note))
	return w.String()
}
