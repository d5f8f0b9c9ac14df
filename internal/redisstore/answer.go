package redisstore

import (
	"fmt"
	"strconv"
	"time"
)

// words reads a script's answer of so many texts.
func words(answer any, n int) ([]string, error) {
	list, ok := answer.([]any)
	if !ok || len(list) != n {
		return nil, fmt.Errorf("redis: the script answered %T, want %d texts", answer, n)
	}
	said := make([]string, n)
	for i, item := range list {
		if said[i], ok = item.(string); !ok {
			return nil, fmt.Errorf("redis: the script answered a list with %T, want texts", item)
		}
	}
	return said, nil
}

func milliseconds(text string) time.Time {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n)
}
