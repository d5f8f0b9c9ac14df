package cli

import (
	"encoding/json"
	"errors"
	"flag"
	"io"

	"github.com/jotgate/jotgate/config"
)

func jsonFlag(c *flag.FlagSet) *bool {
	return c.Bool("json", false, "print one JSON object")
}

// printJSON prints one object over several lines: a person may look at it, too.
func printJSON(w io.Writer, object any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(object)
}

// A faultReport is a config.Fault for machines.
type faultReport struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"`
	Problem string `json:"problem"`
	Remedy  string `json:"remedy,omitempty"`
}

func faultReports(faults []config.Fault) []faultReport {
	all := make([]faultReport, len(faults))
	for i, f := range faults {
		all[i] = faultReport(f)
	}
	return all
}

// A checkReport is what check says; a config with faults has no counts.
type checkReport struct {
	File      string        `json:"file"`
	Fine      bool          `json:"fine"`
	Listeners int           `json:"listeners"`
	Clients   int           `json:"clients"`
	Routes    int           `json:"routes"`
	Tests     int           `json:"tests"`
	Faults    []faultReport `json:"faults"`
	Warnings  []faultReport `json:"warnings"`
}

// printCheck prints the report of a config that was checked with this error. Other errors than faults are not its
// business.
func printCheck(w io.Writer, file string, settings *config.Config, err error) error {
	var faults config.Faults
	if err != nil && !errors.As(err, &faults) {
		return err
	}
	report := checkReport{File: file, Fine: err == nil, Faults: faultReports(faults), Warnings: []faultReport{}}
	if settings != nil {
		report.Listeners, report.Clients = len(settings.Listeners), clients(settings)
		report.Routes, report.Tests = len(settings.Routes), len(settings.Tests)
		report.Warnings = faultReports(settings.Warnings)
	}
	if err := printJSON(w, report); err != nil {
		return err
	}
	if !report.Fine {
		return errToldFaults
	}
	return nil
}

// A reloadReport is what reload says.
type reloadReport struct {
	Reloaded bool          `json:"reloaded"`
	Faults   []faultReport `json:"faults"`
	Error    string        `json:"error,omitempty"` // of the running gate, which goes on as before
}

func printReload(w io.Writer, err error) error {
	var faults config.Faults
	report := reloadReport{Reloaded: err == nil, Faults: []faultReport{}}
	end := error(nil)
	switch {
	case errors.As(err, &faults):
		report.Faults, end = faultReports(faults), errToldFaults
	case err != nil:
		report.Error, end = err.Error(), errToldFailed
	}
	if err := printJSON(w, report); err != nil {
		return err
	}
	return end
}
