// Command messages speaks for Envoy in the tests of fronts: it asks a decision listener with Envoy's own messages over
// gRPC, and decodes the example configs of Envoy, ingress-nginx and Istio strictly, into their own types.
//
//	messages ask ADDRESS    reads AttributeContexts (JSON) from standard input, one a line; writes a CheckResponse a line
//	messages decode FOLDER  examples/fronts
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	mesh "istio.io/api/mesh/v1alpha1"
	security "istio.io/client-go/pkg/apis/security/v1"
	networking "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "ask":
		err = ask(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "decode":
		err = decode(os.Args[2])
	default:
		err = errors.New("usage: messages ask ADDRESS | decode FOLDER")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// ask sends one Check for each line, all on one connection as Envoy does.
func ask(address string) error {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	client := auth.NewAuthorizationClient(connection)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var attributes auth.AttributeContext
		if err := protojson.Unmarshal(lines.Bytes(), &attributes); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		response, err := client.Check(ctx, &auth.CheckRequest{Attributes: &attributes})
		cancel()
		if err != nil {
			fmt.Printf("{\"error\": %q}\n", err.Error())
			continue
		}
		text, err := protojson.Marshal(response)
		if err != nil {
			return err
		}
		fmt.Println(strings.ReplaceAll(string(text), "\n", " "))
	}
	return lines.Err()
}

// decode reads each file into its own types; an unknown field is an error.
func decode(folder string) error {
	for file, into := range map[string]proto.Message{
		"envoy/envoy.yaml": &bootstrap.Bootstrap{}, "istio/mesh.yaml": &mesh.MeshConfig{},
	} {
		text, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			return err
		}
		asJSON, err := yaml.YAMLToJSON(text)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := protojson.Unmarshal(asJSON, into); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if v, ok := into.(interface{ ValidateAll() error }); ok {
			if err := v.ValidateAll(); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	for file, object := range map[string]func() any{
		"ingress-nginx/ingress.yaml": func() any { return new(networking.Ingress) },
		"istio/policy.yaml":          func() any { return new(security.AuthorizationPolicy) },
	} {
		text, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			return err
		}
		for _, document := range strings.Split(string(text), "\n---\n") {
			if err := yaml.UnmarshalStrict([]byte(document), object()); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}
