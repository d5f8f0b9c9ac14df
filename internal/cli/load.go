package cli

import (
	"flag"
)

// configVariable names the config where --config does not.
const configVariable = "JOTGATE_CONFIG"

func configFlag(c *flag.FlagSet) *string {
	return c.String("config", "", "the config `FILE`; without it, JOTGATE_CONFIG names it")
}

// configFile is the file that --config, or else the environment, names.
func (p *Process) configFile(fromFlag string) (string, error) {
	if fromFlag != "" {
		return fromFlag, nil
	}
	if file, _ := p.LookupEnv(configVariable); file != "" {
		return file, nil
	}
	return "", usagef("no config: name it with --config FILE or in JOTGATE_CONFIG (jotgate init writes one, jotgate " +
		"demo needs none)")
}
