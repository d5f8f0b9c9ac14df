package template

import (
	"bytes"
	htmltemplate "html/template"
	"strings"
	"testing"
	texttemplate "text/template"
)

type inner struct {
	Name  string
	Count int
}

type outer struct {
	inner
	Title string
	List  []inner
	Words []string
	Empty []string
	Next  *inner
	None  *inner
	Any   any
	Map   map[string]string
	Maps  map[string]map[string]string
	Yes   bool
	Size  uint64
}

var example = outer{
	inner: inner{Name: "embedded", Count: 3}, Title: `<a href="x">'1+1' & more</a>`,
	List: []inner{{Name: "a", Count: 1}, {Name: "b"}}, Words: []string{"x", "y"}, Next: &inner{Name: "next"},
	Any: inner{Name: "any"}, Map: map[string]string{"k": "v"}, Maps: map[string]map[string]string{"a": {"b": "c"}},
	Yes: true, Size: 18,
}

var exampleFuncs = Funcs{
	"join": strings.Join, "name": func(i inner) string { return i.Name }, "upper": strings.ToUpper,
}

// TestText compares with text/template, whose language this is.
func TestText(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"plain", "{{.Title}}", "{{.Count}} {{.Size}} {{.Yes}}", "a {{- /* gone */ -}} b", "{{/* gone */}}",
		"{{if .Yes}}yes{{else}}no{{end}}", "{{if .None}}yes{{else if .Words}}words{{else}}no{{end}}",
		"{{if not .Yes}}yes{{end}}", "{{if and .Yes .Words}}both{{end}}", "{{if or .None .Yes}}one{{end}}",
		"{{if and .None .None.Name}}never{{else}}short{{end}}", "{{if or .Yes .None.Name}}short{{end}}",
		"{{with .Next}}{{.Name}} {{$.Title}}{{end}}", "{{with .None}}x{{else}}none{{end}}",
		"{{with .None}}x{{else with .Next}}{{.Name}}{{end}}",
		"{{range .List}}{{.Name}}{{.Count}},{{end}}", "{{range $i, $x := .List}}{{$i}}{{$x.Name}},{{end}}",
		"{{range $x := .List}}{{$x.Name}}{{$y := .Count}}{{$y}},{{end}}", "{{range .Empty}}x{{else}}empty{{end}}",
		"{{$x := .Title}}{{with .Next}}{{$x}}{{.Name}}{{end}}{{$x}}", "{{$x := 1}}{{with $x := 2}}{{$x}}{{end}}{{$x}}",
		"{{eq .Name `embedded`}} {{eq .Count 3}} {{eq .Yes true}} {{eq .Name \"x\"}}", "{{len .Words}} {{len .Name}}",
		"{{index .Map \"k\"}} {{index .Map \"gone\"}} {{index .Maps \"a\" \"b\"}} {{index .Maps \"x\" \"y\"}}",
		"{{.Map.k}} {{.Any.Name}} {{.Next.Name}}", "{{print .Name 1 \"x\"}} {{printf \"%s=%d\" .Name .Count}}",
		"{{join .Words \", \"}} {{.Words | len}} {{.Name | upper | printf \"%q\"}} {{name .Next}} {{name .Any}}",
		"{{range $i, $w := .Words}}{{if eq $i 1}}{{$w}}{{end}}{{end}}", "{{(index .Map \"k\") | upper}}",
		`{{define "part"}}[{{.}}]{{end}}{{template "part" .Name}}{{range .Words}}{{template "part" .}}{{end}}`,
	} {
		ours, err := Text(text, "", "", exampleFuncs)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var want, got bytes.Buffer
		theirs := texttemplate.Must(texttemplate.New("").Funcs(texttemplate.FuncMap(exampleFuncs)).Parse(text))
		if err := theirs.Execute(&want, example); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if err := ours.Execute(&got, example); err != nil || got.String() != want.String() {
			t.Errorf("%s: %q (%v), text/template says %q", text, got.String(), err, want.String())
		}
	}
}

// TestPagesEscape compares with html/template wherever a value may stand.
func TestPagesEscape(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"<p>{{.}}</p>", `<p title="{{.}}">`, `<p title="a {{.}} b" class="{{.}}">{{.}}</p>`, "<title>{{.}}</title>",
		`<a href="/console/refusals?reason={{.}}">`, `<tr{{if .}} class="hit {{.}}"{{end}}>`,
		`<option{{if .}} selected{{end}}>`,
		`<textarea>{{.}}</textarea>`, `<p class="{{if .}}a{{else}}b{{end}}">`, `<br><svg><path d="{{.}}"/></svg>{{.}}`,
		`<!doctype html><script src="/x.js" defer></script><p>{{.}}`, `<script>if (a<b) {}</script>{{.}}`,
	} {
		page, err := Page(nil, text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for _, value := range []string{
			"", "plain", `"><script>alert(1)</script>`, `' onclick='x'`, "a&amp;b&c", "1+1", "\x00", "é\u2028", "/a b?c=d&e#f",
		} {
			var want, got bytes.Buffer
			if err := htmltemplate.Must(htmltemplate.New("").Parse(text)).Execute(&want, value); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			// %2F and %2f are one.
			if err := page.Execute(&got, value); err != nil || !strings.EqualFold(got.String(), want.String()) {
				t.Errorf("%s of %q: %s (%v), html/template says %s", text, value, got.String(), err, want.String())
			}
		}
	}
}

// TestURLsOfOtherPlaces: a value that is a whole URL is a path of this site, or nothing.
func TestURLsOfOtherPlaces(t *testing.T) {
	t.Parallel()
	for _, attribute := range urls {
		page, err := Page(nil, `<a `+strings.ToUpper(attribute)+`="{{.}}">`)
		if err != nil {
			t.Fatal(err)
		}
		for value, want := range map[string]string{
			"/console/refusals?reason=a&x=%22": "/console/refusals?reason=a&amp;x=%22", "/": "/",
			"javascript:alert(1)": "#", "//evil.example/": "#", `/\evil.example/`: "#", "/\t/evil.example/": "#",
			"https://evil.example/": "#", "data:text/html,x": "#", " /": "#", "": "", `/"onclick="x`: "/&#34;onclick=&#34;x",
		} {
			var got bytes.Buffer
			if err := page.Execute(&got, value); err != nil || got.String() != `<a `+strings.ToUpper(attribute)+`="`+want+`">` {
				t.Errorf("%s of %q: %s, %v", attribute, value, got.String(), err)
			}
		}
	}
}

// TestWhereValuesMustNotStand: there escaping would not be enough.
func TestWhereValuesMustNotStand(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"<p {{.}}>":                                  "stands neither in text nor within double quotes",
		"<{{.}}>":                                    "stands neither in text nor within double quotes",
		"<p title={{.}}>":                            "the value of title is not in double quotes",
		"<p title='{{.}}'>":                          "the value of title is not in double quotes",
		"<script>{{.}}</script>":                     "stands neither in text nor within double quotes",
		"<STYLE>{{.}}</STYLE>":                       "stands neither in text nor within double quotes",
		`<p onclick="{{.}}">`:                        "stands in onclick",
		`<p ONCLICK="x {{.}}">`:                      "stands in onclick",
		`<p style="{{.}}">`:                          "stands in style",
		`<iframe srcdoc="{{.}}">`:                    "stands in srcdoc",
		`<img srcset="{{.}}">`:                       "stands in srcset",
		`<meta content="{{.}}">`:                     "stands in content",
		"<!-- {{.}} -->":                             "comments are written",
		`<p title="{{if .}}">{{end}}`:                "ends in two places",
		`{{if .}}<p{{else}}<p title="{{end}}">`:      "ends in two places",
		`{{range .}}<p title="{{end}}">`:             "ends in two places",
		`<p title="`:                                 "ends within a tag",
		"<script>":                                   "ends within a tag or a script",
		`<p {{template "x"}}>{{define "x"}}y{{end}}`: "does not stand in text",
		`{{define "x"}}<p title="{{end}}`:            `template "x": it ends within a tag`,
	} {
		if _, err := Page(nil, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want: %s", text, err, want)
		}
	}
}

// TestWhatATemplateCannotDo: everything else is an error, at the latest when it is executed.
func TestWhatATemplateCannotDo(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{{.Gone}}":                        "has no field Gone",
		"{{.inner.on}}":                    "has no field inner",
		"{{.None.Name}}":                   "there is no Name in nil",
		"{{.None}}":                        "is nil",
		"{{.Name.X}}":                      "there is no X in",
		"{{eq .Name 1}}":                   "cannot be compared",
		"{{len .Count}}":                   "has no length",
		"{{index .Words 1}}":               "has no index",
		"{{upper}}":                        "0 arguments, want 1",
		"{{upper .Count}}":                 "argument 1 is int, want string",
		"{{join .Words \",\" 1}}":          "3 arguments, want 2",
		"{{range .Map}}{{end}}":            "is no list",
		"{{.Name .Title}}":                 "is no function",
		"{{1.5}}":                          "is not supported",
		"{{break}}":                        "{{break}} outside {{range}}",
		"{{range .Words}}{{break}}{{end}}": "is not supported",
		"{{$x := 1}}{{$x = 2}}":            "assigns, which is not supported",
		`{{template "gone"}}`:              `"gone" is not defined`,
		`{{template "x" .}}{{define "x"}}{{template "x" .}}{{end}}`: "uses itself",
	} {
		parsed, err := Text(text, "", "", exampleFuncs)
		if err == nil {
			err = parsed.Execute(&bytes.Buffer{}, example)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want: %s", text, err, want)
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	page, err := Page(nil, `<h1>{{template "part" .}}</h1>`, `{{define "part"}}<b>{{.}}</b>{{end}}`)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := page.Execute(&got, "<"); err != nil || got.String() != "<h1><b>&lt;</b></h1>" {
		t.Errorf("%s, %v", got.String(), err)
	}
	for want, files := range map[string][]string{
		"outside of {{define}}": {"x", "y"},
		"defined twice":         {"x", `{{define "a"}}1{{end}}`, `{{define "a"}}2{{end}}`},
		"function \"gone\"":     {"{{gone}}"},
	} {
		if _, err := Page(nil, files...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want: %s", files, err, want)
		}
	}
}

func FuzzPage(f *testing.F) {
	const text = `<p title="a {{.}}">{{.}}</p><a href="{{.}}">{{.}}</a><a href="/x?y={{.}}">`
	page, err := Page(nil, text)
	if err != nil {
		f.Fatal(err)
	}
	var empty bytes.Buffer
	if err := page.Execute(&empty, "/"); err != nil {
		f.Fatal(err)
	}
	f.Add(`"><script>`)
	f.Add("javascript:x")
	f.Fuzz(func(t *testing.T, value string) {
		var got bytes.Buffer
		if err := page.Execute(&got, value); err != nil {
			t.Fatal(err)
		}
		for _, special := range []string{"<", ">", `"`} {
			if n, want := strings.Count(got.String(), special), strings.Count(empty.String(), special); n != want {
				t.Errorf("%q makes %d of %s, want %d: %s", value, n, special, want, got.String())
			}
		}
	})
}
