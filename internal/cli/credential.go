package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// credentialBytes bounds what is read as a secret or a token.
const credentialBytes = 64 << 10

// credential reads a secret from @FILE or, for -, from standard input. A trailing newline is no part of it.
func (p *Process) credential(operand string) (string, error) {
	var text []byte
	var err error
	switch file, isFile := strings.CutPrefix(operand, "@"); {
	case operand == "-":
		text, err = read(p.Stdin)
	case isFile && file != "":
		text, err = readFile(file)
	default:
		return "", usagef("a secret on the command line can be read by every user of this machine; give @FILE, or - for " +
			"standard input")
	}
	if err != nil {
		return "", fmt.Errorf("read the secret: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return read(f)
}

func read(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, credentialBytes+1))
	if err == nil && len(text) > credentialBytes {
		err = fmt.Errorf("is longer than %d bytes", credentialBytes)
	}
	return text, err
}
