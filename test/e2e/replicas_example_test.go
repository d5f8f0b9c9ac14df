package e2e_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestTheReplicasExampleWorksStepByStep(t *testing.T) {
	t.Parallel()
	needs(t, "nginx", "nginx")
	needs(t, "redis-server", "redis-server")
	folder := t.TempDir()
	ports := map[string]string{} // of the example, and of this test
	for _, port := range []string{"3000", "6379", "8080", "8081", "8082", "8083"} {
		_, ours, err := net.SplitHostPort(freeAddress(t))
		if err != nil {
			t.Fatal(err)
		}
		ports[port] = ours
	}
	to := func(prefix, port string) change { return change{prefix + port, prefix + ports[port]} }
	for name, changes := range map[string][]change{
		"config.yaml": {to("127.0.0.1:", "6379"), to("127.0.0.1:", "3000")},
		"redis.conf":  {to("port ", "6379")},
		"nginx.conf": {
			to("127.0.0.1:", "8080"), to("127.0.0.1:", "8081"), to("127.0.0.1:", "8082"),
			to("127.0.0.1:", "8083"),
		},
	} {
		file := filepath.Join("examples/replicas", name)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(folder, name), []byte(replaceAll(t, file, string(text), changes...)))
	}
	if os.Getuid() == 0 { // nginx's workers are no one then, and the folder is not theirs
		conf := filepath.Join(folder, "nginx.conf")
		text, err := os.ReadFile(conf)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, conf, append([]byte("user root root;\n"), text...))
	}
	source, err := filepath.Abs("examples/replicas")
	if err != nil {
		t.Fatal(err)
	}
	// Whatever goes wrong, nothing is left running; and nothing is a matter of seconds, however slow this machine is.
	// An nginx that is killed outright leaves its worker behind.
	const trap = "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"
	ask := "command $C -s -o run/answer -w '%{http_code}' http://127.0.0.1:"
	noticed := ""
	for _, port := range []string{"8082", "8083"} {
		noticed += "until { " + ask + ports[port] +
			`/api/v1/authorization-codes -H "Authorization: Bearer $MANAGE" -H 'Content-Type: application/json' -d ` +
			`'{"subject":"alice","role":"reader","tenant":"acme"}' > run/status; ` +
			ask + ports[port] + `/api/v1/tokens -H 'Content-Type: application/json' -d '{"authorization_code":"'$(cut -d'"' ` +
			`-f4 run/answer)'"}' > run/status; } && grep -q 201 run/status; do sleep 0.1; done` + "\n"
	}
	revoked := "until [ $(" + ask + ports["8082"] +
		"/t/acme/orders -H \"Authorization: Bearer $TOKEN\") = 401 ]; do sleep 0.1; done\n"
	play(t, folder, []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin", "C=curl"},
		replaceAll(t, "examples/replicas/README.md",
			trap+shellBlocks(t, "examples/replicas/README.md"),
			change{"go build -o bin/ ../.. ../sidecar/app\n", fmt.Sprintf("go build -C %q -o %q ../.. ../sidecar/app\n", source,
				filepath.Join(folder, "bin")+"/")},
			to("127.0.0.1:", "3000"), to("127.0.0.1:", "8080"), to("127.0.0.1:", "8081"), to("127.0.0.1:", "8082"),
			to("127.0.0.1:", "8083"),
			to("PORT=", "8081"), to("PORT=", "8082"), to("PORT=", "8083"),
			change{"sleep 3\n", revoked}, change{"sleep 2\n", noticed}, change{"sleep 1\n", ""},
			change{"kill %2 %7\n", "kill %2 %7\nwait\n"},
		))
}
