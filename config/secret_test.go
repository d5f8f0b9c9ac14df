package config

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"gopkg.in/yaml.v3"
)

// printed shows what a Secret looks like in all the ways in which one could slip out.
func printed(t *testing.T, value any) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%10.3s"} {
		out[verb] = fmt.Sprintf(verb, value)
	}
	marshal := func(name string, data []byte, err error) {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = string(data)
	}
	data, err := json.Marshal(value)
	marshal("json", data, err)
	data, err = yaml.Marshal(value)
	marshal("yaml", data, err)
	var logged bytes.Buffer
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&logged),
		zap.DebugLevel)
	zap.New(core).Info("zap", zap.Any("any", value), zap.Reflect("reflect", value))
	zap.New(core).Sugar().Infof("%v", value)
	out["zap"] = logged.String()
	logged.Reset()
	slog.New(slog.NewTextHandler(&logged, nil)).Info("slog", "value", value)
	out["slog"] = logged.String()
	return out
}

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	const text = "hunter2hunter2hunter2!"
	secret := Secret(text)
	for _, value := range []any{
		secret, &secret,
		[]Secret{secret},
		map[string]Secret{"key": secret},
		Client{ID: "web", Secret: secret},
		&Client{AccessTokenID: secret},
		struct{ S Secret }{secret},
		UserLookup{Bearer: secret},
		Admin{Token: secret},
		Issuer{CodeSecrets: []Secret{secret}},
	} {
		for how, got := range printed(t, value) {
			for _, leak := range []string{
				"hunter2", fmt.Sprintf("%x", text), fmt.Sprintf("%X", text), fmt.Sprintf("% x", text),
				"104 117 110",
			} {
				if strings.Contains(got, leak) {
					t.Errorf("%T by %s prints %s", value, how, got)
				}
			}
		}
	}
	for how, got := range printed(t, secret) {
		if !strings.Contains(got, "[redacted]") {
			t.Errorf("%s prints %s, want [redacted]", how, got)
		}
	}
	data, err := xml.Marshal(secret)
	if err != nil || !strings.Contains(string(data), "[redacted]") {
		t.Errorf("xml: %s (%v)", data, err)
	}
	if secret.Reveal() != text {
		t.Errorf("revealed as %s", secret.Reveal())
	}
}
