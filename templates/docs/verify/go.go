func verify(secret string, headers http.Header, body []byte) bool {
	id, at := headers.Get("webhook-id"), headers.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, at, body)
	mine := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	ok := false
	for _, one := range strings.Fields(headers.Get("webhook-signature")) {
		ok = ok || hmac.Equal([]byte(mine), []byte(one))
	}
	return ok
}
