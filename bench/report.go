//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Results are a whole run, as its file has them.
type Results struct {
	Date       time.Time         `json:"date"`
	Command    string            `json:"command"`
	Quick      bool              `json:"quick,omitempty"` // a smoke test: the figures mean nothing
	Revision   string            `json:"revision"`        // of the working tree; a plus: and what is not committed
	Base       string            `json:"base,omitempty"`
	Versions   map[string]string `json:"versions"`
	Conditions Conditions        `json:"conditions"`
	Seconds    float64           `json:"seconds"`
	Cases      []*Case           `json:"cases"`
}

// Conditions are what the figures depend on beside the programs.
type Conditions struct {
	Processor     string  `json:"processor"`
	Kernel        string  `json:"kernel"`
	ContestantCPU int     `json:"contestant_core"`
	LoadCPU       int     `json:"load_core"`
	Connections   int     `json:"connections"`
	Tokens        int     `json:"tokens"`
	Turn          string  `json:"turn"`
	Rounds        int     `json:"rounds"`
	Foreign       float64 `json:"foreign_load_at_most"`
	Codes         int     `json:"codes"`
	Rate          int     `json:"requests_per_second_for_latency"`
}

// A Case is what was measured of one thing.
type Case struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Unit    string   `json:"unit"`
	Rounds  int      `json:"rounds"`
	Thrown  Thrown   `json:"thrown"`
	Seconds float64  `json:"seconds"`
	Figures []Figure `json:"figures"`
	Ratios  []Ratio  `json:"ratios,omitempty"`
}

// A Figure is one contestant's, over all rounds that count.
type Figure struct {
	Name string `json:"name"`
	Spread
	Rate    float64   `json:"requests_per_second,omitempty"` // the median
	Aim     float64   `json:"aim,omitempty"`                 // at most
	Samples []float64 `json:"samples"`                       // one for each round

	rates []float64 // the same of requests per second
}

// A Ratio divides two figures in each round.
type Ratio struct {
	Of string `json:"of"`
	By string `json:"by"`
	Spread
	Aim float64 `json:"aim,omitempty"` // at most
}

// newResults notes the circumstances.
func (b *bench) newResults(ctx context.Context, args []string) (*Results, error) {
	r := &Results{
		Date: time.Now().UTC().Truncate(time.Second), Command: strings.TrimSpace("go run ./bench " + strings.Join(args, " ")),
		Quick: b.quick, Revision: revision(ctx, b.root, "HEAD"), Versions: b.tools.versions(ctx),
		Conditions: Conditions{
			Processor: processor(), Kernel: kernel(), ContestantCPU: b.gateCPU, LoadCPU: b.loadCPU, Connections: b.connections,
			Tokens: b.settings.tokens, Turn: b.turn.String(), Rounds: b.rounds, Foreign: b.foreign, Codes: b.codes, Rate: b.rate,
		},
	}
	if b.base != "" {
		r.Base = revision(ctx, b.root, b.base+"^{commit}")
	}
	return r, ctx.Err()
}

// add puts in what contestants did in their rounds.
func (r *Case) add(all []*contestant, rounds []round, thrown Thrown, pairs []pair) {
	r.Rounds = len(rounds)
	r.Thrown.Foreign += thrown.Foreign
	r.Thrown.Wrong += thrown.Wrong
	for i, c := range all {
		f := Figure{Name: c.name}
		for _, round := range rounds {
			f.Samples = append(f.Samples, round[i].CPU)
			f.rates = append(f.rates, round[i].Rate)
		}
		f.Rate = spreadOf(f.rates).Median
		r.Figures = append(r.Figures, f)
	}
	r.conclude(pairs)
}

// conclude takes the medians, and the ratios of those pairs that took part.
func (r *Case) conclude(pairs []pair) {
	for i := range r.Figures {
		r.Figures[i].Spread = spreadOf(r.Figures[i].Samples)
	}
	for _, p := range pairs {
		of, by := r.figure(p.of), r.figure(p.by)
		if of != nil && by != nil {
			r.Ratios = append(r.Ratios, Ratio{Of: p.of, By: p.by, Spread: paired(of.Samples, by.Samples), Aim: p.aim})
		}
	}
}

func (r *Case) figure(name string) *Figure {
	i := slices.IndexFunc(r.Figures, func(f Figure) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Figures[i]
}

// verdict compares with an aim.
func verdict(value, aim float64) string {
	switch {
	case aim == 0:
		return ""
	case value <= aim:
		return fmt.Sprintf("≤ %g: met", aim)
	}
	return fmt.Sprintf("≤ %g: missed", aim)
}

func digits(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func (s Spread) String() string {
	return fmt.Sprintf("%s (%s–%s)", digits(s.Median), digits(s.Low), digits(s.High))
}

// rows are a case's tables, as cells.
func (r *Case) rows() (figures, ratios [][]string) {
	for _, f := range r.Figures {
		rate := ""
		if f.Rate > 0 {
			rate = fmt.Sprintf("%.0f", f.Rate)
		}
		figures = append(figures, []string{f.Name, f.String(), rate, verdict(f.Median, f.Aim)})
	}
	for _, q := range r.Ratios {
		ratios = append(ratios, []string{q.Of + " : " + q.By, q.String(), verdict(q.Median, q.Aim)})
	}
	return figures, ratios
}

func (r *Case) circumstances() string {
	text := fmt.Sprintf("%d rounds, %.0f s", r.Rounds, r.Seconds)
	if r.Thrown.Foreign > 0 {
		text += fmt.Sprintf(", %d more thrown away for foreign load", r.Thrown.Foreign)
	}
	if r.Thrown.Wrong > 0 {
		text += fmt.Sprintf(", %d more thrown away for wrong answers", r.Thrown.Wrong)
	}
	return text
}

// print writes a case to the terminal.
func (r *Case) print(out io.Writer) {
	figures, ratios := r.rows()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, cells := range figures {
		fmt.Fprintf(w, "  %s\t%s %s\t%s\t%s\n", cells[0], cells[1], r.Unit, perSecond(cells[2]), cells[3])
	}
	_ = w.Flush()
	for _, cells := range ratios {
		fmt.Fprintf(w, "  %s\t× %s\t%s\n", cells[0], cells[1], cells[2])
	}
	_ = w.Flush()
	fmt.Fprintf(out, "  (%s)\n", r.circumstances())
}

func perSecond(rate string) string {
	if rate == "" {
		return ""
	}
	return rate + "/s"
}

// markdown is the same to keep.
func (r *Results) markdown() string {
	var w strings.Builder
	fmt.Fprintf(&w, "# Measured on %s\n\n", r.Date.Format("2006-01-02 15:04 UTC"))
	if r.Quick {
		w.WriteString("**A smoke test: these figures mean nothing.**\n\n")
	}
	fmt.Fprintf(&w, "    %s\n\n", r.Command)
	fmt.Fprintf(&w, "Revision %s", r.Revision)
	if r.Base != "" {
		fmt.Fprintf(&w, ", base %s", r.Base)
	}
	c := r.Conditions
	fmt.Fprintf(&w, "; %s; Linux %s", c.Processor, c.Kernel)
	for _, name := range []string{"go", "nginx", "haproxy", "redis", "wrk", "h2load"} {
		fmt.Fprintf(&w, "; %s %s", name, r.Versions[name])
	}
	fmt.Fprintf(&w, ".\nContestants on core %d, load and app on core %d; %d connections, %d tokens, turns of %s, %.0f "+
		"minutes in all.\n",
		c.ContestantCPU, c.LoadCPU, c.Connections, c.Tokens, c.Turn, r.Seconds/60)
	w.WriteString("Medians, with the quartiles in brackets. [How to read them](../README.md).\n")
	for _, k := range r.Cases {
		k.markdown(&w)
	}
	return w.String()
}

func (r *Case) markdown(w *strings.Builder) {
	figures, ratios := r.rows()
	fmt.Fprintf(w, "\n## %s\n\n%s (%s).\n\n| who | %s | requests/s | aim |\n|---|---|---|---|\n", r.Name, capital(r.Title),
		r.circumstances(), r.Unit)
	for _, cells := range figures {
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
	if len(ratios) > 0 {
		w.WriteString("\n| of : by | × | aim |\n|---|---|---|\n")
	}
	for _, cells := range ratios {
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// write leaves three files: the results, and what is made of them.
func (r *Results) write(folder string, out io.Writer) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	file := filepath.Join(folder, r.Date.Format("20060102-150405")+".json")
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return redraw(file, out)
}

// redraw makes the table and the picture from a results file.
func redraw(file string, out io.Writer) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var r Results
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("%s is no results file: %w", file, err)
	}
	stem := strings.TrimSuffix(file, ".json")
	err = os.WriteFile(stem+".md", []byte(r.markdown()), 0o644)
	written := []string{file, stem + ".md"}
	if bars := r.bars(); len(bars) > 0 {
		err = errors.Join(err, os.WriteFile(stem+".svg", []byte(r.picture(bars)), 0o644))
		written = append(written, stem+".svg")
	}
	if err == nil {
		fmt.Fprintf(out, "\nwrote %s\n", strings.Join(written, ", "))
	}
	return err
}
