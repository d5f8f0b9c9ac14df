package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/orca"
)

// serveInterop is the interoperability server of grpc-go; with the files of a certificate and its key, over TLS.
func serveInterop(address string, pair []string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	recorder := orca.NewServerMetricsRecorder()
	options, err := secured(pair)
	if err != nil {
		return err
	}
	server := grpc.NewServer(append(options, orca.CallMetricsServerOption(recorder))...)
	reports := orca.ServiceOptions{MinReportingInterval: time.Second, ServerMetricsProvider: recorder}
	if err := orca.Register(server, reports); err != nil {
		return err
	}
	testgrpc.RegisterTestServiceServer(server,
		interop.NewTestServer(interop.NewTestServerOptions{MetricsRecorder: recorder}))
	fmt.Println("serving", l.Addr())
	return server.Serve(l)
}

// secured has a server speak TLS, where it is given the files of a certificate and its key.
func secured(pair []string) ([]grpc.ServerOption, error) {
	if len(pair) != 2 {
		return nil, nil
	}
	secure, err := credentials.NewServerTLSFromFile(pair[0], pair[1])
	return []grpc.ServerOption{grpc.Creds(secure)}, err
}

// bearing adds the token to each call.
type bearing string

func (b bearing) onto(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+string(b))
}

func (b bearing) unary(ctx context.Context, method string, request, reply any, c *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	return invoke(b.onto(ctx), method, request, reply, c, options...)
}

func (b bearing) stream(ctx context.Context, d *grpc.StreamDesc, c *grpc.ClientConn, method string,
	open grpc.Streamer, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	return open(b.onto(ctx), d, c, method, options...)
}

// playInterop plays grpc-go's interoperability tests that need no account of a cloud. One that fails ends the process.
func playInterop(address, token string, authority []string) error {
	secure := insecure.NewCredentials()
	if len(authority) == 1 {
		pem, err := os.ReadFile(authority[0])
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		secure = credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "gate.test"})
	}
	c, err := grpc.NewClient(address, grpc.WithTransportCredentials(secure),
		grpc.WithUnaryInterceptor(bearing(token).unary), grpc.WithStreamInterceptor(bearing(token).stream),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}`))
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	service := testgrpc.NewTestServiceClient(c)
	for _, test := range []struct {
		name string
		play func()
	}{
		{"empty_unary", func() { interop.DoEmptyUnaryCall(ctx, service) }},
		{"large_unary", func() { interop.DoLargeUnaryCall(ctx, service) }},
		{"client_streaming", func() { interop.DoClientStreaming(ctx, service) }},
		{"server_streaming", func() { interop.DoServerStreaming(ctx, service) }},
		{"ping_pong", func() { interop.DoPingPong(ctx, service) }},
		{"empty_stream", func() { interop.DoEmptyStream(ctx, service) }},
		{"timeout_on_sleeping_server", func() { interop.DoTimeoutOnSleepingServer(ctx, service) }},
		{"cancel_after_begin", func() { interop.DoCancelAfterBegin(ctx, service) }},
		{"cancel_after_first_response", func() { interop.DoCancelAfterFirstResponse(ctx, service) }},
		{"custom_metadata", func() { interop.DoCustomMetadata(ctx, service) }},
		{"status_code_and_message", func() { interop.DoStatusCodeAndMessage(ctx, service) }},
		{"special_status_message", func() { interop.DoSpecialStatusMessage(ctx, service) }},
		{"unimplemented_service", func() {
			interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(c))
		}},
		{"unimplemented_method", func() { interop.DoUnimplementedMethod(ctx, c) }},
		{"orca_per_rpc", func() { interop.DoORCAPerRPCTest(ctx, service) }},
	} {
		test.play()
		fmt.Println("passed", test.name)
	}
	return nil
}
