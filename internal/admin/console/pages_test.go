package console

import (
	"bytes"
	"html/template"
	"reflect"
	"regexp"
	"testing"
	"time"
)

// fill gives everything in a value something: strings a text, lists two items.
func fill(v reflect.Value, text string, depth int) {
	if !v.CanSet() || depth > 8 {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(12345)
	case reflect.Uint64:
		v.SetUint(12345)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text, depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), text, depth+1)
		}
	case reflect.Struct:
		if at, is := v.Addr().Interface().(*time.Time); is {
			*at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), text, depth+1)
		}
	}
}

// TestPagesAreWhatHTMLTemplateMakes: whatever a client of the gate has put into what a page shows. URLs apart, which
// are held to more here (internal/template).
func TestPagesAreWhatHTMLTemplateMakes(t *testing.T) {
	t.Parallel()
	hrefs := regexp.MustCompile(`href="[^"]*"`)
	for page, content := range map[string]any{
		"refusals": &refusalsView{}, "refusal": &refusalView{}, "routes": &routesView{}, "issuers": &Issuers{},
		"upstreams": &[]Server{}, "codes": &Memories{}, "revocations": &revocationsView{}, "config": &Config{},
		"inspect": &inspectView{}, "signin": &signInView{}, "failure": &failureView{}, "overview": &overviewView{},
	} {
		theirs := template.Must(template.New("frame.html").Funcs(template.FuncMap(functions)).
			ParseFS(files, "assets/frame.html", "assets/parts.html", "assets/"+page+".html"))
		for _, text := range []string{"", "/plain", `"><script>alert('1+1')</script>&amp;`, "' x=\x00é"} {
			v := view{Template: page, Title: text, NotReady: text, SignedIn: true, CSRF: text, Pages: []link{{"/x", text, true}}}
			if text != "" {
				fill(reflect.ValueOf(content).Elem(), text, 0)
			}
			v.Content = reflect.ValueOf(content).Elem().Interface()
			var want, got bytes.Buffer
			if err := theirs.Execute(&want, v); err != nil {
				t.Fatal(err)
			}
			if err := templates[page].Execute(&got, v); err != nil {
				t.Fatal(err)
			}
			w, g := want.Bytes(), got.Bytes()
			w = bytes.ReplaceAll(w, []byte("refusals//"), []byte("refusals/%2F")) // a slash in an id ends no segment here
			if text != "/plain" {
				w, g = hrefs.ReplaceAll(w, nil), hrefs.ReplaceAll(g, nil)
			}
			if !bytes.Equal(w, g) {
				t.Errorf("%s with %q:\n%s\nhtml/template makes\n%s", page, text, g, w)
			}
		}
	}
}
