package cli

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// limitShare is the part of a cgroup's memory that Go's heap and stacks may take before the collector works harder. The
// rest is for what the limit does not count: the binary, and the kernel's socket buffers.
const limitShare = 0.9

// cgroupLimit returns the memory limit of the process's control group, or of the tightest group above it; 0 if there is
// none. root is the root of the file system. Both versions of control groups are read (cgroups(7)).
func cgroupLimit(root fs.FS) int64 {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	tightest := int64(0)
	for line := range strings.Lines(string(groups)) {
		// hierarchy-ID:controller-list:cgroup-path
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		mount, file := "", ""
		switch {
		case parts[0] == "0" && parts[1] == "":
			mount, file = "sys/fs/cgroup", "memory.max"
		case slices.Contains(strings.Split(parts[1], ","), "memory"):
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for group := path.Clean("/" + parts[2]); ; group = path.Dir(group) {
			if limit := readLimit(root, path.Join(mount, group, file)); limit > 0 && (tightest == 0 || limit < tightest) {
				tightest = limit
			}
			if group == "/" {
				break
			}
		}
	}
	return tightest
}

// readLimit returns 0 for no limit: the word max, a number that stands for none, or no file.
func readLimit(root fs.FS, name string) int64 {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || limit >= 1<<60 {
		return 0
	}
	return limit
}
