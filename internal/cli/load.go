package cli

import (
	"flag"
)

// configVariable names the config where --config does not.
const configVariable = "JOTGATE_CONFIG"

func configFlag(c *flag.FlagSet) *string {
	return c.String("config", "", "`FILE` of the config (default: the environment's JOTGATE_CONFIG)")
}

// configFile is the file that --config, or else the environment, names.
func (p *Process) configFile(fromFlag string) (string, error) {
	if fromFlag != "" {
		return fromFlag, nil
	}
	if file, _ := p.LookupEnv(configVariable); file != "" {
		return file, nil
	}
	return "", usagef("no config: set --config FILE or JOTGATE_CONFIG (jotgate init writes a config, jotgate " +
		"demo needs none)")
}
